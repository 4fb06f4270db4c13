"""Large databases are loaded by several processes; it ends when none is left to load."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime.service import Service
from cht_sync.settings import Settings


class Load(Service):
    """Beside the pipelines, which may start before, meanwhile or after."""

    name = "load"
    ends = True
    patience = 30.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def command(self) -> list[str]:
        return [sys.executable, "-m", "cht_sync", "load", "--if-large"]

    def environment(self) -> Mapping[str, str]:
        environment = str(self._settings.environment)
        return {
            "CHT_SYNC_HOME": str(self._settings.home),
            ENVIRONMENT: environment,
            **self._settings.log_variables,
        }
