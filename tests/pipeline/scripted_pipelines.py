"""Inputs that follow a script, and outputs that keep what they are given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cht_sync.pipeline.config.build import Pipeline
from cht_sync.pipeline.config.routing import unconditional
from cht_sync.pipeline.contracts import Batch, Output, Position, Rejected, StoredDocument
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.named_pipeline import NamedPipeline

PATIENCE = 20.0


@dataclass
class Mark:
    """What a script does instead of giving an event."""

    name: str


END = Mark("the input ends")
ABORT = Mark("the process dies here: nothing after it happens")
IDLE = Mark("nothing comes for a while")
WAIT = Mark("nothing comes until the stop")


class Crash(Exception):
    """Plays the death of the process."""


class ScriptedInput:
    """Gives one batch for each entry; its position is the index of the next one, saved by the ack."""

    def __init__(self, script: Sequence[Any], *, source: str | None = None) -> None:
        self.script = script
        self.source = source
        self.saved = 0
        self.at = 0
        self.closed = 0
        self.started: list[Position | None] = []

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self.started.append(position)
        self.at = int(position.sequence) if position else self.saved

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        if stop.is_set():
            return None
        entry = self.script[self.at]
        if entry is END:
            return None
        if entry is ABORT:
            raise Crash
        if entry is WAIT:
            stop.wait(PATIENCE)
            return None
        if isinstance(entry, Exception):
            raise entry
        self.at += 1
        after = self.at
        rejected = [entry] if isinstance(entry, Rejected) else []
        events = [] if rejected or entry is IDLE else [Event({"n": entry})]
        return Batch(events, rejected, Position(self.source or "", str(after)), lambda: self._save(after))

    def _save(self, position: int) -> None:
        self.saved = position

    def interrupt(self) -> None:
        """A script waits for nothing but the stop."""

    def close(self) -> None:
        self.closed += 1


@dataclass
class Collected:
    """An output that keeps what it is given; `before` may raise, or answer False for "stopped"."""

    before: Callable[[Batch], bool] = lambda _batch: True
    got: list[Any] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    closed: int = 0

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        if not self.before(batch):
            return False
        self.batches.append(batch)
        self.got += [event.get("n") for event in batch.events]
        return True

    def close(self) -> None:
        self.closed += 1


@dataclass
class Keeping(Collected):
    """An output that keeps the position too."""

    position: Position | None = None
    claims: list[str] = field(default_factory=list)
    released: list[bool] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    buried: list[str] = field(default_factory=list)

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        self.claims.append(source)
        return self.position

    def fall_silent(self) -> None:
        pass

    def is_released(self, stop: threading.Event) -> bool:
        return self.released.pop(0)

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def report(self, problem: str, stop: threading.Event) -> None:
        self.reported.append(problem)

    def stored_after(self, document_id: str, stop: threading.Event) -> list[StoredDocument]:
        return [StoredDocument(id, "1-a") for id in sorted(self.stored) if id > document_id][:2]

    def bury(self, documents: Sequence[StoredDocument], stop: threading.Event) -> bool:
        self.buried += [one.document_id for one in documents]
        self.stored = [id for id in self.stored if id not in self.buried]
        return True

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        if not super().write(batch, stop):
            return False
        self.position = batch.position or self.position
        return True


def named_pipeline(
    folder: Path, inputs: Sequence[Any], outputs: Sequence[Output], name: str = "medic", **more: Any
) -> NamedPipeline:
    """A pipeline without filters; its dead letters go to the folder."""
    pipeline = Pipeline(list(inputs), lambda events: events, unconditional(list(outputs)), list(outputs))
    return NamedPipeline(name, pipeline, DeadLetterFile(folder, name), **more)
