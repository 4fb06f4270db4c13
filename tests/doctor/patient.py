"""An installation that is examined as an operator does it: `cht-sync doctor`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from click.testing import CliRunner
from click.testing import Result as CliResult
from free_ports import free_port
from reconcile.world import World

from cht_sync.cli import main
from cht_sync.settings import declared

PORTS = ("POSTGREST_PORT", "LOGSTASH_API_PORT", "DBT_METRICS_PORT", "SUPERSET_PORT")


@dataclass
class Diagnosis:
    """What was found: entries of the JSON, and the exit code."""

    code: int
    found: list[dict[str, Any]]

    def of(self, result: str) -> list[dict[str, Any]]:
        return [one for one in self.found if one["result"] == result]

    @property
    def failed(self) -> set[str]:
        """The checks that failed."""
        return {one["check"] for one in self.of("failed")}

    def the(self, check: str, result: str = "failed") -> tuple[str, str]:
        """Message and remedy of the only finding of a check with this result."""
        (one,) = (each for each in self.of(result) if each["check"] == check)
        return one["message"], one["remedy"]


@dataclass
class Patient:
    """A world, and the settings that are given otherwise."""

    world: World
    changes: dict[str, str] = field(default_factory=lambda: {name: str(free_port()) for name in PORTS})
    secrets: set[str] = field(default_factory=set)
    """What must be in no output, beside all that is secret in the settings."""

    def environment(self) -> dict[str, str]:
        return {**self.world.environment(), **self.changes}

    def run(self, *words: str) -> CliResult:
        """A command in this process, with the operator's settings and no others."""
        names = {name: None for name, _variable in declared()}
        environ = {**names, "DOCKER_HOST": "unix:///nowhere/docker.sock", **self.environment()}
        return CliRunner().invoke(main, list(words), env=environ, catch_exceptions=False)

    def examine(self, *words: str, runtime: str = "embedded", environment: str = "prod") -> Diagnosis:
        """Let the doctor look; whatever it says holds no secret, and is JSON alone."""
        done = self.run("doctor", "--json", "--env", environment, "--runtime", runtime, *words)
        assert done.stderr == ""
        given = self.environment()
        secret = [given[name] for name, variable in declared() if variable.secret and given.get(name)]
        for one in (*secret, *self.secrets):
            assert one not in done.stdout
        return Diagnosis(done.exit_code, json.loads(done.stdout))
