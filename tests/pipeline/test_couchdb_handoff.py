"""What waits for delivery: of each document only its last change, whether that became an event or not."""

from __future__ import annotations

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.couchdb.handoff import Gathered
from cht_sync.pipeline.event import Event


def good(id: str) -> Gathered:
    portion = Gathered()
    portion.add(id, Event({"_id": id}), 1)
    return portion


def refused(id: str | None, revision: str = "2-a") -> Gathered:
    portion = Gathered()
    portion.reject(Rejected(id, revision, None, "malformed", "no JSON"))
    return portion


def gathered(*portions: Gathered) -> tuple[list[str], list[str | None]]:
    whole = Gathered()
    for portion in portions:
        whole.absorb(portion)
    return list(whole.events), [letter.document_id for letter in whole.rejected]


def test_a_refused_change_supersedes_the_good_one_before_it() -> None:
    """Stored after the letter, it would close the letter, which is about the later change."""
    assert gathered(good("a"), good("b"), refused("a")) == (["b"], ["a"])


def test_a_good_change_supersedes_the_refused_one_before_it() -> None:
    assert gathered(refused("a"), refused("b"), good("a")) == (["a"], ["b"])


def test_a_refused_change_supersedes_another_one() -> None:
    assert gathered(refused("a", "1-a"), refused("a", "2-a")) == ([], ["a"])


def test_changes_that_nobody_could_read_supersede_nothing() -> None:
    assert gathered(good("a"), refused(None), refused(None)) == (["a"], [None, None])
