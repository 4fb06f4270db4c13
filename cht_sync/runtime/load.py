"""Large databases are loaded by several processes; it ends when none is left to load."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cht_sync.load.auto import begin_what_is_due
from cht_sync.load.chunks import SIZE
from cht_sync.runtime.service import Say, Service
from cht_sync.settings import Settings


class Load(Service):
    """Beside the pipelines, which may start before, meanwhile or after."""

    name = "load"
    ends = True
    patience = 30.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def prepare(self, say: Say) -> None:
        say("looking for large databases")
        begin_what_is_due(self._settings, chunk_size=SIZE)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "cht_sync", "load", "--if-large"]

    def environment(self) -> Mapping[str, str]:
        return {"CHT_SYNC_HOME": str(self._settings.home), **self._settings.log_variables}
