"""Delivering dead letters once more, each through the very output that refused it; filters are not run again.

Delivery: at least once. The configuration is built as for a run, but inputs are never started, and what an
output refuses again comes back here, not into its file.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.contracts import Batch, Output, PositionKeeper, Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.line import Letter, Origin, events_of
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.outputs.pipeline import PipelineOutput
from cht_sync.pipeline.startup import Startup

PATIENCE = 30.0
"""Seconds for which an output may try to deliver one letter."""

_BY_POSITION = re.compile(r"output_.+_\d+")
"""An id that the configuration does not say: it changes with the outputs before it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a letter: delivered where neither is set.

    `refusal` is the new reason of an output that refuses it again; `problem` is why nothing was found out.
    """

    refusal: Rejected | None = None
    problem: str | None = None

    @property
    def delivered(self) -> bool:
        return self.refusal is None and self.problem is None


class _Refusals(DeadLetterFile):
    """Takes the place of an output's file."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.taken: list[Rejected] = []

    def append(self, rejected: Sequence[Rejected], by: object = None) -> None:
        self.taken += rejected

    def append_copies(self, letters: Mapping[str, Rejected]) -> None:
        self.taken += letters.values()


@dataclass
class _Configured:
    """A pipeline that was built; `refusals` and `outputs` are by the ids of outputs."""

    pipeline: Pipeline
    refusals: dict[str, _Refusals] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    """Outputs that do not deliver now, and why."""


class Redelivery:
    """The outputs of a configuration.

    `output` is the id of one that gets all letters, in the place of those that refused them.
    """

    def __init__(self, startup: Startup, output: str | None = None, patience: float = PATIENCE) -> None:
        self._startup = startup
        self._output = output
        self._patience = patience
        self._built: dict[str, _Configured | str] = {}

    def deliver(self, letter: Letter) -> Outcome:
        """Deliver the event of a letter. Raises ConfigError where the configuration is refused."""
        events = events_of(letter.members.get("document"))
        if letter.members.get("kind") == "input":
            return Outcome(problem="was refused by an input before it was an event; no output can deliver it")
        if events is None or len(events) != 1:
            return Outcome(problem="holds no event that can be read; look at it with: dead-letters show")
        configured = self._configured(letter.pipeline)
        if isinstance(configured, str):
            return Outcome(problem=configured)
        wanted = self._output or letter.members.get("plugin_id")
        if wanted is None and len(configured.refusals) == 1:
            (wanted,) = configured.refusals
        problem = self._problem_with(wanted, letter, configured)
        if wanted is None or problem is not None:
            return Outcome(problem=problem)
        return self._give(events[0], wanted, configured)

    def close(self) -> None:
        """Let go of all connections."""
        for one in self._built.values():
            if isinstance(one, _Configured):
                one.pipeline.close()

    def _configured(self, pipeline_id: str) -> _Configured | str:
        if pipeline_id not in self._built:
            self._built[pipeline_id] = self._build(pipeline_id)
        return self._built[pipeline_id]

    def _build(self, pipeline_id: str) -> _Configured | str:
        sources = self._startup.find()
        if len(sources) == 1 and "pipeline.id" not in self._startup.settings and self._startup.is_single:
            sources = [replace(sources[0], id=pipeline_id)]
        source = next((one for one in sources if one.id == pipeline_id), None)
        if source is None:
            known = ", ".join(one.id for one in sources)
            return f"is of pipeline {pipeline_id}, which the configuration does not have; it has: {known}"
        refusals: dict[str, _Refusals] = {}

        def keep(origin: Origin) -> _Refusals:
            return refusals.setdefault(origin.plugin_id or "", _Refusals(origin))

        loader = replace(self._startup.loader, keeps_letters=False, dead_letter_store=keep)
        pipeline = loader.load(source).pipeline
        outputs = {pipeline.metrics.of(one, OutputMetrics).id: one for one in pipeline.outputs}
        return _Configured(pipeline, refusals, outputs)

    def _problem_with(self, id: str | None, letter: Letter, configured: _Configured) -> str | None:
        """Why the letter cannot go to this output."""
        choice = f"name one with --output: {', '.join(configured.outputs)}"
        if id is None:
            return f"does not say which output refused it; {choice}"
        if id not in configured.outputs:
            return f"needs the output {id}, which the configuration does not have; {choice}"
        output = configured.outputs[id]
        if isinstance(output, PositionKeeper):
            return "was refused by PostgREST; its document is stored anew where the table of dead letters is"
        if isinstance(output, PipelineOutput):
            return f"cannot go to {id}, which hands it to another pipeline; {choice}"
        refusals = configured.refusals.get(id)
        before, now = letter.members.get("address"), refusals.origin.address if refusals else None
        if self._output is None and before is not None and before != now and _BY_POSITION.fullmatch(id):
            return (
                f"was refused by {before}, and {id} is {now or 'another output'} now; "
                f"if that shall have it say: --output {id}"
            )
        return None

    def _give(self, event: Event, id: str, configured: _Configured) -> Outcome:
        if id in configured.busy:
            return Outcome(problem=f"was not tried: {configured.busy[id]}")
        output, refusals = configured.outputs[id], configured.refusals.get(id)
        stop = threading.Event()
        timer = threading.Timer(self._patience, stop.set)
        timer.daemon = True
        timer.start()
        try:
            done = output.write(Batch([event]), stop)
        except (ChtSyncError, OSError) as error:
            return Outcome(problem=f"could not be delivered: {error}")
        finally:
            timer.cancel()
        taken = refusals.taken.pop() if refusals and refusals.taken else None
        if taken is None and not done:
            last = configured.pipeline.metrics.of(output, OutputMetrics).problem.current
            configured.busy[id] = f"{id} takes nothing now ({last.text if last else 'no answer'})"
            return Outcome(problem=f"was not delivered: {configured.busy[id]}")
        return Outcome(taken)
