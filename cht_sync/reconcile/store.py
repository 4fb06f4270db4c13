"""Candidates and differences, kept in a file that disappears with us: there may be millions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

from cht_sync.errors import ChtSyncError
from cht_sync.reconcile.state import Kind, State


class Difference(NamedTuple):
    """A document that differs, and the row that was seen; None where there was none."""

    id: str
    kind: Kind
    row: State | None


class Store:
    """Ids that may differ, and those that do; as bytes, since a text of SQLite's holds no lone surrogate."""

    def __init__(self) -> None:
        # The empty name: a file without a name in the folder for temporary files, readable by nobody else.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript("""
            pragma journal_mode = off;
            pragma synchronous = off;
            create table candidate (id blob primary key) without rowid;
            create table difference (id blob primary key, kind text, present int, rev text, deleted int)
              without rowid;
        """)

    def close(self) -> None:
        """Remove everything."""
        self._database.close()

    def suspect(self, ids: Iterable[str]) -> None:
        """Keep ids that may differ; one that is there already stays one."""
        self._many("insert or ignore into candidate values (?)", ((_bytes(one),) for one in ids))

    def candidates(self, batch: int) -> Iterator[list[str]]:
        """Yield the ids that may differ; those of a batch may be settled before the next one is asked for."""
        query = "select id from candidate where id > ? order by id limit ?"
        last = b""
        while ids := [one for (one,) in self._database.execute(query, (last, batch))]:
            last = ids[-1]
            yield [_text(one) for one in ids]

    def settle(self, ids: Sequence[str], differences: Iterable[Difference]) -> None:
        """These ids are no candidates any more: they are the same, but for the differences given."""
        self._many("delete from candidate where id = ?", ((_bytes(one),) for one in ids))
        self._many(
            "insert or replace into difference values (?, ?, ?, ?, ?)",
            (
                (_bytes(one.id), one.kind.value, one.row is not None, *(one.row or (None, None)))
                for one in differences
            ),
        )

    def reconsider(self) -> None:
        """Make every difference a candidate again."""
        self._database.execute("insert or ignore into candidate select id from difference")
        self._database.execute("delete from difference")

    def differences(self, batch: int, *, dropped: bool = False) -> Iterator[list[Difference]]:
        """Yield what is to be mended, in the order of the ids; what an operator dropped only if asked for."""
        query = """
            select id, kind, present, rev, deleted from difference
            where id > ? and kind <> ? order by id limit ?
        """
        left_out = "" if dropped else Kind.DROPPED.value
        last = b""
        while found := self._database.execute(query, (last, left_out, batch)).fetchall():
            last = found[-1][0]
            yield [
                Difference(_text(one), Kind(kind), State(rev, bool(deleted)) if present else None)
                for one, kind, present, rev, deleted in found
            ]

    def some(self, kind: Kind, most: int) -> list[str]:
        """The first ids of one kind."""
        query = "select id from difference where kind = ? order by id limit ?"
        return [_text(one) for (one,) in self._database.execute(query, (kind.value, most))]

    def counts(self) -> dict[Kind, int]:
        """How many differences of each kind there are."""
        found = dict(self._database.execute("select kind, count(*) from difference group by kind"))
        return {kind: found.get(kind.value, 0) for kind in Kind}

    def undecided(self) -> int:
        """How many candidates there are."""
        ((count,),) = self._database.execute("select count(*) from candidate")
        return int(count)

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._database.execute("begin")
        with closing(self._database.cursor()) as cursor:
            cursor.executemany(statement, rows)
        self._database.execute("commit")


@contextmanager
def kept_on_disk() -> Iterator[Store]:
    """Give an empty store. Raises ChtSyncError where the disk refuses."""
    try:
        with closing(Store()) as store:
            yield store
    except sqlite3.Error as error:
        raise ChtSyncError(
            f"the list of differences cannot be kept: {error}",
            hint="Make room in the folder for temporary files, or name another one by TMPDIR.",
        ) from error


def _bytes(document_id: str) -> bytes:
    return document_id.encode(errors="surrogatepass")


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogatepass")
