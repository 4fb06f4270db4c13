"""What waits for delivery: of each document only its last change, whether that became an event or not."""

from __future__ import annotations

import threading

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
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


FOR_EVER = 3600.0


def test_a_batch_is_what_is_there_unless_it_is_asked_to_fill() -> None:
    handoff = Handoff(3, 1000)
    handoff.put(good("a"))
    taken = handoff.take(FOR_EVER)
    assert taken is not None
    assert list(taken.events) == ["a"]


def test_a_batch_that_is_asked_to_fill_is_taken_when_it_is_full() -> None:
    handoff = Handoff(3, 1000, FOR_EVER)
    handoff.put(good("a"))
    threading.Thread(target=lambda: [handoff.put(good(id)) for id in "bc"], daemon=True).start()
    taken = handoff.take(FOR_EVER)
    assert taken is not None
    assert list(taken.events) == ["a", "b", "c"]


def test_a_batch_that_is_asked_to_fill_is_taken_when_the_next_changes_have_no_room() -> None:
    handoff = Handoff(2, 1000, FOR_EVER)
    many = good("b")
    many.absorb(good("c"))
    handoff.put(good("a"))
    threading.Thread(target=handoff.put, args=(many,), daemon=True).start()
    for expected in (["a"], ["b", "c"]):
        taken = handoff.take(FOR_EVER)
        assert taken is not None
        assert list(taken.events) == expected


def test_a_batch_that_does_not_fill_is_taken_after_the_delay_and_at_the_end() -> None:
    handoff = Handoff(3, 1000, 0.01)
    handoff.put(good("a"))
    assert handoff.take(FOR_EVER) is not None
    ending = Handoff(3, 1000, FOR_EVER)
    ending.put(good("a"))
    threading.Thread(target=ending.end, daemon=True).start()
    assert ending.take(FOR_EVER) is not None
    assert ending.take(FOR_EVER) is None
