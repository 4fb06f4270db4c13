"""What the doctor knows before it asks: the settings, what the environment starts, what runs of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.runtime.couchdb_access import CouchdbAccess
from cht_sync.settings import Settings

EMBEDDED, DOCKER, AUTO = "embedded", "docker", "auto"


@dataclass(frozen=True)
class Situation:
    """An environment as seen from where the questions are asked.

    `runtime` is embedded or docker where it is known, else auto. `services` are those that the environment
    starts, `states` what `status` says of them, by name; empty where nothing runs.
    """

    environment: Environment
    home: Path
    runtime: str
    settings: Settings | None
    """Those of what runs, else those that are given now; None where they cannot be read at all."""
    problems: Sequence[str] = ()
    """Of the settings as they are given now, one line each."""
    refused: Collection[str] = ()
    """The names of the settings that these are about."""
    changed: Collection[str] = ()
    """The names of settings that are given otherwise than what runs was started with."""
    services: Collection[str] = ()
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    supervised: bool = True
    trouble: tuple[str, str] | None = None
    """Why what is recorded of the environment cannot be read, and what to do."""
    not_judged: str = ""
    """Why it cannot be said whether the settings as they are given now are accepted; empty where it can."""
    ended: bool = False
    """Whether it ran as local processes and all of them have ended without `down`."""
    others: Collection[Environment] = ()
    """Other environments that run in this folder."""

    @property
    def given(self) -> Settings:
        """The settings, where a check needs them; whoever has none is not asked."""
        if self.settings is None:
            raise ChtSyncError(self.no_settings)
        return self.settings

    @property
    def no_settings(self) -> str:
        """Why there are no settings to ask with."""
        return "the settings cannot be read" if self.trouble is None else "what runs here is not known"

    @property
    def runs(self) -> bool:
        return bool(self.states)

    def is_running(self, service: str) -> bool:
        """Whether a service of this environment runs."""
        return self.states.get(service, {}).get("state") == "running"

    def has_its_port(self, service: str) -> bool:
        """Whether a service runs, or its port is kept for it until it does."""
        return self.states.get(service, {}).get("state", "stopped") not in ("stopped", "failed")

    def place(self, service: str) -> str:
        """The host:port of a service that runs, as seen from here."""
        return str(self.states[service]["address"])

    @property
    def env(self) -> str:
        """The option of commands that names this environment; empty for the default."""
        return "" if self.environment is Environment.LOCAL else f" --env {self.environment}"

    @cached_property
    def couchdb(self) -> CouchdbAccess:
        """One login for all questions to CouchDB."""
        return CouchdbAccess(self.given)
