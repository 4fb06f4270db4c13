"""The data generator of the local environment: some documents at once, then a steady trickle."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cht_sync.runtime.service import Service
from cht_sync.settings import Settings

FIRST_DOCUMENTS = 500
CHANGES_PER_SECOND = 1.0


class DataGenerator(Service):
    """Writes into every database of COUCHDB_DBS what belongs into it."""

    name = "data-generator"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "cht_sync", "generate"),
            *("--docs", str(FIRST_DOCUMENTS)),
            *("--rate", str(CHANGES_PER_SECOND)),
        ]

    def environment(self) -> Mapping[str, str]:
        return {"CHT_SYNC_HOME": str(self._settings.home), **self._settings.log_variables}
