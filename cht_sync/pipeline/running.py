"""One pipeline at work, and what happens when it fails: it is stopped, shown, and tried again after a pause.

Other pipelines of the process go on. Where the disk, or a full file of dead letters, was the reason, waiting
can heal it, and the process lives on for that; whatever else the reason was, the pipeline is tried again for
as long as the process lives. Nothing is lost: each input begins where the outputs have everything.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from cht_sync import backoff
from cht_sync.errors import ChtSyncError, DeadLettersFull, PositionNotKept, sentences
from cht_sync.logs import fields
from cht_sync.pipeline.input_runner import InputRunner
from cht_sync.pipeline.named_pipeline import NamedPipeline

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a pipeline that failed is tried again; doubled each time."""
HEALTHY_AFTER = 60.0
"""Seconds after which a pipeline counts as well again, so that its pauses are short once more."""
HEALING = (OSError, DeadLettersFull, PositionNotKept)
"""Failures that may be over by themselves, or when an operator has made room."""


class RunningPipeline:
    """One pipeline at work: a thread for each input.

    Raises ConfigError where nobody would keep an input's position.
    """

    def __init__(self, named: NamedPipeline, woken: threading.Event) -> None:
        """`woken` is set whenever an input has ended."""
        self.named = named
        self.failure: Exception | None = None
        self._metrics = named.pipeline.metrics
        self._woken = woken
        self._lock = threading.Lock()
        self._at_work = 0
        self._said = False
        self._again_at: float | None = None
        self._started_at = 0.0
        self._pauses = _pauses()
        self._prepare()

    def start(self) -> None:
        """Begin to read."""
        self._metrics.state = "running"
        self._started_at = time.monotonic()
        self._at_work = len(self._threads)
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether one of its inputs is still at work."""
        return self._at_work > 0

    def may_heal(self) -> bool:
        """Whether it has failed for a reason that may be over by itself."""
        return self.named.restartable and isinstance(self.failure, HEALING)

    def look_after(self) -> None:
        """Where an input has failed: stop the others, say so, and try again when the pause is over."""
        if self.failure is None:
            return
        if self.is_alive():
            self.ask_to_stop()
        elif not self._said:
            self._say(self.failure)
        elif self._again_at is not None and time.monotonic() >= self._again_at:
            log.info(
                "pipeline %s: is tried again",
                self.named.id,
                extra=fields(event="pipeline_retried", pipeline=self.named.id),
            )
            for source in self.named.pipeline.inputs:
                # One that had ended already when it was asked to stop must not remember that.
                source.close()
            self.failure, self._said = None, False
            self._metrics.begins_again()
            self._prepare()
            self.start()

    def last_failure(self) -> Exception | None:
        """Return why it is not at work when all is over; said here where it was not yet."""
        if self.failure is not None and not self._said:
            said = described(self.failure)
            log.error(
                "pipeline %s failed: %s",
                self.named.id,
                said,
                extra=fields(event="pipeline_failed", pipeline=self.named.id, error=said),
            )
        return self.failure

    def ask_to_stop(self) -> None:
        """Let it finish the batch that it delivers, or give up waiting; may be called again and again."""
        self._stop.set()
        for source in self.named.pipeline.inputs:
            source.interrupt()

    def close(self) -> None:
        """Let go of everything; what was not acknowledged will be read again."""
        self.named.pipeline.close()
        if self._started_at:
            self._say_stopped()
            self._started_at = 0.0

    def _prepare(self) -> None:
        self._stop = threading.Event()
        delivering = threading.Lock()
        # Daemons, so that a second signal can abandon one that waits for an answer.
        self._threads = [
            threading.Thread(
                target=self._guard,
                args=(InputRunner(self.named, source, delivering), self._stop),
                name=self.named.id,
                daemon=True,
            )
            for source in self.named.pipeline.inputs
        ]

    def _guard(self, runner: InputRunner, stop: threading.Event) -> None:
        try:
            runner.run(stop)
        except Exception as error:
            # Whoever runs it says so: a thread that ends unheard would leave its database standing still.
            if self.failure is None:
                self.failure = error
                self._metrics.failed(described(error))
        else:
            self._metrics.input_ended()
        finally:
            with self._lock:
                self._at_work -= 1
            self._woken.set()

    def _say(self, failure: Exception) -> None:
        self._said = True
        if time.monotonic() - self._started_at >= HEALTHY_AFTER:
            self._pauses = _pauses()
        text = described(failure)
        pause: float | None = None
        if self.named.restartable:
            pause = next(self._pauses)
            self._again_at = time.monotonic() + pause
            what = f"It is tried again in {pause:.0f} s, or at once on SIGHUP"
        else:
            what = "It stays stopped, because standard input gives nothing twice"
        log.error(
            "pipeline %s failed: %s. %s; other pipelines go on.",
            self.named.id,
            text.rstrip("."),
            what,
            extra=fields(event="pipeline_failed", pipeline=self.named.id, error=text, pause_seconds=pause),
        )
        log.debug("pipeline %s: where that came from", self.named.id, exc_info=failure)

    def _say_stopped(self) -> None:
        totals, metrics = self._metrics.totals(), self._metrics
        letters = metrics.dead_letters + sum(one.dead_letters for one in metrics.outputs)
        sources = [one.source for one in metrics.inputs if one.source is not None]
        lasted = time.time() - metrics.started_at
        log.info(
            "pipeline %s: stopped after %.0f s; %d documents read, %d delivered, %d dead letters",
            self.named.id,
            lasted,
            totals.events_in,
            totals.out,
            letters,
            extra=fields(
                event="pipeline_stopped",
                pipeline=self.named.id,
                source=sources[0] if len(sources) == 1 else None,
                documents=totals.events_in,
                rows=totals.out,
                dead_letters=letters,
                duration_seconds=lasted,
            ),
        )


def described(failure: Exception) -> str:
    """What failed and what to do, in one line; never what an event holds."""
    if isinstance(failure, ChtSyncError):
        return sentences(failure)
    if isinstance(failure, OSError):
        parts = [str(part) for part in (failure.filename, failure.strerror) if part]
        return ": ".join(parts) or type(failure).__name__
    frames = traceback.extract_tb(failure.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(failure).__name__}{where}; --log.level debug shows how it came to that"


def _pauses() -> Iterator[float]:
    return backoff.delays(first=FIRST_PAUSE, most=LONGEST_PAUSE)
