"""Dead letters in files, in the operator's hand: list, find, remove, deliver again. No database is needed.

A letter leaves its file only after it was delivered, or when an operator drops it; in between the engine may
append to the same file. A process that is killed leaves letters in the file that it has delivered last; never
is one in neither place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.dead_letters.file import files_in, letters_in, rewrite
from cht_sync.pipeline.dead_letters.line import Letter, refused_again
from cht_sync.pipeline.dead_letters.redelivery import Outcome
from cht_sync.pipeline.dead_letters.turn import only_operator_of

SETTLE_AFTER = 1.0
"""Seconds after which delivered letters are taken out of their file; more where that takes long."""
SHARE = 10
"""Of the time of a replay, at most one part in so many goes into rewriting."""

NAMED = 20
"""Letters that an error names."""

Deliver = Callable[[Letter], Outcome]


@dataclass(frozen=True)
class Filed:
    """A letter and its file."""

    path: Path
    letter: Letter

    @property
    def fingerprint(self) -> str | None:
        """That of the letter in the table, where PostgREST refused it."""
        found = self.letter.members.get("fingerprint")
        return None if found is None else str(found)

    def is_of(self, name: str | None) -> bool:
        """Whether it is of this database, or of the pipeline with this id; None stands for all."""
        return name in (None, self.letter.members.get("database"), self.letter.pipeline)

    def as_row(self) -> dict[str, Any]:
        """The letter in the shape of those of the table."""
        said = self.letter.members
        return {
            "id": self.letter.name,
            "database": said.get("database"),
            "doc_id": said.get("document_id"),
            "rev": said.get("revision"),
            "seq": said.get("sequence"),
            "code": self.letter.code,
            "reason": said.get("reason"),
            "at": _moment(said.get("at")),
            "closed_at": None,
            "closed_by": None,
            "where": "file",
            "pipeline": self.letter.pipeline,
            "output": said.get("plugin_id"),
            "address": said.get("address"),
            "path": str(self.path),
        }


class Files:
    """The files of some folders. Every method raises OSError."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths = [one for folder in folders for one in files_in(folder).items()]

    def letters(self) -> Iterator[Filed]:
        """Yield all letters, of each file the oldest first."""
        for pipeline, path in self._paths:
            for letter in letters_in(path, pipeline):
                yield Filed(path, letter)

    def find(self, names: Sequence[str]) -> list[Filed]:
        """Return the letters with these names. Raises ChtSyncError where there is none with one of them."""
        found: list[Filed] = []
        for pipeline, path in self._paths:
            ids = {id for of, _, id in (name.rpartition(":") for name in names) if of == pipeline}
            if ids:
                found += [Filed(path, letter) for letter in letters_in(path, pipeline, ids)]
        unknown = sorted(set(names) - {one.letter.name for one in found})
        if unknown:
            raise ChtSyncError(
                f"there is no dead letter {', '.join(unknown)}",
                hint="It may have been replayed or dropped. List them with: cht-sync dead-letters list",
            )
        return found


def remove(filed: Sequence[Filed]) -> int:
    """Take letters out of their files; return how many were there. Raises ChtSyncError and OSError."""
    count = 0
    for path, ids in _by_file(filed).items():
        with only_operator_of(path):
            count += len(rewrite(path, dict.fromkeys(ids)))
    return count


def replay(filed: Sequence[Filed], deliver: Deliver) -> Iterator[tuple[Letter, Outcome]]:
    """Deliver letters one by one, and yield what became of each.

    Those that were delivered leave their file, those that are refused again have the new reason there.
    Raises ChtSyncError and OSError.
    """
    for path, ids in _by_file(filed).items():
        pipeline = next(one.letter.pipeline for one in filed if one.path == path)
        with only_operator_of(path), contextlib.closing(_Settling(path)) as settling:
            for letter in letters_in(path, pipeline, ids):
                outcome = deliver(letter)
                if outcome.delivered:
                    settling.add(letter, None)
                elif outcome.refusal is not None:
                    settling.add(letter, refused_again(letter, _now(), outcome.refusal))
                yield letter, outcome


class _Settling:
    """Outcomes that the file does not have yet: rewriting a large file for each letter takes for ever."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changes: dict[str, bytes | None] = {}
        self._delivered: list[str] = []
        self._due = time.monotonic() + SETTLE_AFTER

    def add(self, letter: Letter, line: bytes | None) -> None:
        self._changes[letter.id] = line
        if line is None:
            self._delivered.append(letter.name)
        if time.monotonic() >= self._due:
            self.close()

    def close(self) -> None:
        """Also when the replay is interrupted: what was delivered is not to be delivered twice."""
        if not self._changes:
            return
        began = time.monotonic()
        try:
            rewrite(self._path, self._changes)
        except OSError as error:
            delivered = self._delivered
            raise ChtSyncError(
                f"{self._path} cannot be rewritten: {error.strerror}; it still has letters that were "
                "delivered: " + ", ".join(delivered[:NAMED] + ["..."] * (len(delivered) > NAMED)),
                hint="Make room for a second file of that size, and drop them: another replay would deliver "
                "them twice.",
            ) from error
        finally:
            self._changes, self._delivered = {}, []
        now = time.monotonic()
        self._due = now + max(SETTLE_AFTER, SHARE * (now - began))


def _by_file(filed: Sequence[Filed]) -> Mapping[Path, set[str]]:
    ids: dict[Path, set[str]] = {}
    for one in filed:
        ids.setdefault(one.path, set()).add(one.letter.id)
    return ids


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
