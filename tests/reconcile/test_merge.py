"""Two lists in one pass: whatever does not match is named, in whichever order they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from cht_sync.reconcile.merge import Tally, candidates
from cht_sync.reconcile.state import State, differ

IDS = some.text(alphabet="aA_é\uffff😀\ud7ff", max_size=3)
REVISIONS = some.sampled_from(["1-a", "2-b"])
DOCUMENTS = some.dictionaries(IDS, REVISIONS)
ROWS = some.dictionaries(IDS, some.tuples(REVISIONS | some.none(), some.booleans()))


def different(documents: dict[str, str], rows: dict[str, tuple[str | None, bool]]) -> set[str]:
    """What the definition says, document by document; deletions are not listed."""
    return {
        one for one in {*documents, *rows}
        if differ(
            State(documents[one], False) if one in documents else None,
            State(*rows[one]) if one in rows else None,
        )
    }  # fmt: skip


@given(DOCUMENTS, ROWS)
def test_what_differs_is_named_and_nothing_else(
    documents: dict[str, str], rows: dict[str, tuple[str | None, bool]]
) -> None:
    tally = Tally()
    table = sorted(((one, *row) for one, row in rows.items()), key=lambda row: row[0].encode())
    listed = sorted(documents.items(), key=lambda one: one[0].encode())
    assert list(candidates(listed, table, tally)) == sorted(different(documents, rows))
    tombstones = sum(deleted for _rev, deleted in rows.values())
    assert (tally.listed, tally.rows, tally.tombstones) == (
        len(documents),
        len(rows) - tombstones,
        tombstones,
    )


@given(some.permutations(["B", "_design/x", "a", "b", "é", "😀"]), ROWS)
def test_a_list_in_another_order_hides_no_difference(
    order: list[str], rows: dict[str, tuple[str | None, bool]]
) -> None:
    table = sorted((one, *row) for one, row in rows.items())
    found = set(candidates([(one, "1-a") for one in order], table, Tally()))
    assert found >= different(dict.fromkeys(order, "1-a"), rows)
