"""Reloading: pipelines whose configuration has changed are replaced, the others are not touched.

A changed pipeline delivers the batch in hand and is closed; the new one begins at the position that is saved.
What cannot be loaded changes nothing: the pipeline that runs goes on, the log says why and where, and the
monitoring API counts it. Behaviour as of Logstash, which does the same on SIGHUP, and by itself with
config.reload.automatic. SIGHUP also starts anew what has failed, whether it has changed or not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set

from cht_sync.errors import ChtSyncError
from cht_sync.logs import fields
from cht_sync.pipeline.config.problems import ConfigProblems
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.run import Change, Make
from cht_sync.pipeline.running import RunningPipeline, described
from cht_sync.pipeline.sources import Loader, PipelineSource, problems_between

log = logging.getLogger(__name__)

SETTLED = 0.5
"""Seconds for which a file has to be unchanged before it is read without being asked to."""

Find = Callable[[], Sequence[PipelineSource]]
"""Returns the pipelines that are wanted now. Raises ConfigError."""


class Reloading:
    """See run.Reload. `interval` is None where only `asked` makes it look."""

    def __init__(
        self,
        find: Find,
        loader: Loader,
        registry: Registry,
        asked: threading.Event,
        interval: float | None,
    ) -> None:
        self.keeps_on = interval is not None
        self._find = find
        self._loader = loader
        self._registry = registry
        self._asked = asked
        self._interval = interval
        self._looked_at = time.monotonic()
        self._refused: dict[str, str] = {}
        """Fingerprints of what could not be loaded, by pipeline; nothing is said twice about them."""
        self._said = ""

    def look(self, running: Mapping[str, RunningPipeline], make: Make) -> Change | None:
        """Return what is to change; what cannot be loaded is logged and counted, whatever it raises."""
        was_asked = self._asked.is_set()
        if not was_asked and not self._is_due():
            return None
        self._asked.clear()
        self._looked_at = time.monotonic()
        if was_asked:
            log.info("the configuration is read again")
            self._refused.clear()
            self._said = ""
        try:
            wanted = {source.id: source for source in self._find()}
            if not was_asked and not all(_is_settled(source) for source in wanted.values()):
                return None
            failed = {
                id
                for id, one in running.items()
                if was_asked and one.failure is not None and one.named.reloadable
            }
            change = self._change(wanted, running, failed, make)
        except Exception as error:
            reason = _reason(error)
            if reason != self._said:
                self._said = reason
                log.error(
                    "the configuration was not reloaded; the pipelines go on as they are: %s",
                    reason,
                    extra=fields(event="reload_refused", error=reason),
                )
                self._registry.reloads.failed(reason)
            return None
        self._said = ""
        return change

    def _is_due(self) -> bool:
        return self._interval is not None and time.monotonic() - self._looked_at >= self._interval

    def _change(
        self,
        wanted: Mapping[str, PipelineSource],
        running: Mapping[str, RunningPipeline],
        failed: Set[str],
        make: Make,
    ) -> Change | None:
        coming = [
            made
            for source in wanted.values()
            if (made := self._made(source, running.get(source.id), source.id in failed, make)) is not None
        ]
        new = {one.named.id for one in coming}
        gone = [one for id, one in running.items() if id not in wanted]
        leaving = [*(running[id] for id in new if id in running), *gone]
        if not coming and not gone:
            return None
        staying = [one.named for one in running.values() if one not in leaving]
        if problems := problems_between([*staying, *(one.named for one in coming)]):
            text = str(ConfigProblems(problems))
            for one in coming:
                self._refuse(one.named.id, one.named.pipeline.metrics.hash, text)
                one.close()
            return None

        def show() -> None:
            for one in gone:
                log.info("pipeline %s: stopped, it is not in the configuration any more", one.named.id)
                self._registry.remove(one.named.id)
            for one in coming:
                known = one.named.id in running
                log.info(
                    "pipeline %s: %s",
                    one.named.id,
                    "reloaded" if known else "started",
                    extra=fields(event="pipeline_reloaded", pipeline=one.named.id),
                )
                if known:
                    self._registry.reloaded(one.named.pipeline.metrics)
                else:
                    self._registry.add(one.named.pipeline.metrics)

        return Change(leaving, coming, show)

    def _made(
        self, source: PipelineSource, before: RunningPipeline | None, failed: bool, make: Make
    ) -> RunningPipeline | None:
        """Return the pipeline of a configuration that is new, has changed or has `failed`; else None."""
        # Taken before the files are read: what is written in between is seen at the next look.
        fingerprint = source.fingerprint()
        if before is not None and before.named.pipeline.metrics.hash == fingerprint and not failed:
            self._refused.pop(source.id, None)
            return None
        if self._refused.get(source.id) == fingerprint:
            return None
        if before is not None and not before.named.reloadable:
            self._refuse(
                source.id, fingerprint, "it cannot be reloaded (pipeline.reloadable, or input stdin)"
            )
            return None
        try:
            named = self._loader.load(source, self._registry.renewed(source.id, fingerprint))
        except Exception as error:
            self._refuse(source.id, fingerprint, _reason(error))
            return None
        try:
            return make(named)
        except Exception as error:
            self._refuse(source.id, fingerprint, _reason(error))
            named.pipeline.close()
            return None

    def _refuse(self, id: str, fingerprint: str, reason: str) -> None:
        self._refused[id] = fingerprint
        log.error(
            "pipeline %s was not reloaded; it goes on as it is: %s",
            id,
            reason,
            extra=fields(event="reload_refused", pipeline=id, error=reason),
        )
        self._registry.reload_failed(id, reason)


def _reason(error: Exception) -> str:
    """Why nothing was reloaded; of a fault of the program, or of a plugin, its type and place."""
    if isinstance(error, ChtSyncError):
        return str(error)
    log.debug("where that came from", exc_info=error)
    return described(error)


def _is_settled(source: PipelineSource) -> bool:
    """Whether nobody is just writing the files: half a configuration may be one, too."""
    if isinstance(source.config, str):
        return True
    now = time.time()
    for path in source.config:
        try:
            if abs(now - path.stat().st_mtime) < SETTLED:
                return False
        except OSError:
            return False
    return True
