"""A pipeline as it is run: with its id, and where it keeps what nobody else does."""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.dead_letter import DeadLetterFile


@dataclass(frozen=True)
class NamedPipeline:
    """A pipeline, its id, and where it keeps changes that became no event and have no table to go to."""

    id: str
    pipeline: Pipeline
    dead_letters: DeadLetterFile
    batch_size: int | None = None
    """Most events that go through filters and outputs at once; None: as many as the input gives."""
    reloadable: bool = True
    restartable: bool = True
    """Whether it can begin again where it has delivered: what an input took from a stream is gone."""
