"""A pipeline as it is run: with its id, and where it keeps what nobody else does."""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.inputs.pipeline import PipelineInput
from cht_sync.pipeline.outputs.pipeline import PipelineOutput


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

    @property
    def listens_at(self) -> list[str]:
        """The addresses at which other pipelines reach it."""
        return [source.address for source in self.pipeline.inputs if isinstance(source, PipelineInput)]

    @property
    def sends_to(self) -> list[str]:
        """The addresses of the pipelines that it hands events on to."""
        return [
            address
            for output in self.pipeline.outputs
            if isinstance(output, PipelineOutput)
            for address in output.send_to
        ]
