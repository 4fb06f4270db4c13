"""Who answers: the members that every answer of Logstash's API has."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cht_sync.files import private_folder, write_atomically
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.monitor.readiness import status

API_VERSION = "8.19.0"
"""The Logstash whose API this is. Dashboards and checks decide by `version` what they ask for and expect;
cht-sync's own version is under `cht_sync` in the answer to `/`."""
ID_FILE = "uuid"


@dataclass(frozen=True)
class Node:
    """This process as the API shows it; workers, batch size and delay are the defaults of its pipelines."""

    http_address: str
    name: str = ""
    workers: int = 1
    batch_size: int = 125
    batch_delay: int = 50

    def identity(self, registry: Registry) -> dict[str, Any]:
        """The members that `/_health_report` has too."""
        host = socket.gethostname()
        return {
            "host": host,
            "version": API_VERSION,
            "http_address": self.http_address,
            "id": registry.node_id,
            "name": self.name or host,
            "ephemeral_id": registry.ephemeral_id,
            "snapshot": False,
        }

    def common(self, registry: Registry) -> dict[str, Any]:
        """The members of all other answers."""
        return {
            **self.identity(registry),
            "status": status(registry.pipelines()),
            "pipeline": {
                "workers": self.workers,
                "batch_size": self.batch_size,
                "batch_delay": self.batch_delay,
            },
        }


def node_id(data_folder: Path) -> str:
    """Return the id of this installation, kept in `uuid` below `path.data` as Logstash does.

    Where it cannot be kept it is a new one each time.
    """
    path = data_folder / ID_FILE
    try:
        return str(uuid.UUID(path.read_text().strip()))
    except (OSError, ValueError):
        made = str(uuid.uuid4())
    try:
        private_folder(data_folder)
        write_atomically(path, made)
    except OSError:
        return made
    return made
