"""Candidates and differences on disk."""

from __future__ import annotations

import sqlite3

import pytest

from cht_sync.errors import ChtSyncError
from cht_sync.reconcile.state import Kind, State
from cht_sync.reconcile.store import Difference, kept_on_disk

IDS = ["a", "_design/x", "\ud800", "\0", "\uffff", "😀", "x" * 10_000]


def test_each_candidate_is_given_once_in_the_order_of_bytes() -> None:
    with kept_on_disk() as store:
        store.suspect(IDS)
        store.suspect(reversed(IDS))
        given = [one for batch in store.candidates(2) for one in batch]
    assert given == sorted(IDS, key=lambda one: one.encode(errors="surrogatepass"))


def test_a_batch_that_was_settled_does_not_hide_the_next() -> None:
    with kept_on_disk() as store:
        store.suspect(IDS)
        for batch in store.candidates(2):
            store.settle(batch, [])
        assert store.undecided() == 0


def test_differences_keep_the_row_that_was_seen() -> None:
    differences = [
        Difference("\ud800", Kind.MISSING, None),
        Difference("a", Kind.STALE, State("1-a", False)),
        Difference("b", Kind.STALE, State(None, True)),
    ]
    with kept_on_disk() as store:
        store.suspect(one.id for one in differences)
        store.settle([one.id for one in differences], differences)
        kept = [one for batch in store.differences(2) for one in batch]
        assert sorted(kept) == sorted(differences)
        assert store.counts() == {**dict.fromkeys(Kind, 0), Kind.MISSING: 1, Kind.STALE: 2}
        assert store.some(Kind.STALE, 1) == ["a"]
        store.reconsider()
        assert store.undecided() == 3
        assert store.counts() == dict.fromkeys(Kind, 0)


def test_a_full_disk_is_told_with_what_to_do() -> None:
    with pytest.raises(ChtSyncError, match="cannot be kept: database or disk is full") as raised:  # noqa: SIM117
        with kept_on_disk() as store:
            store._database.execute("pragma max_page_count = 4")
            store.suspect(f"{number:0500}" for number in range(1_000))
    assert "TMPDIR" in str(raised.value.hint)
    with pytest.raises(sqlite3.ProgrammingError):
        store.undecided()
