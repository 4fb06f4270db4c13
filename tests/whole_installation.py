"""A real installation of cht-sync in a folder of its own, used as an operator uses it: by its commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg2
import requests

from cht_sync.runtime import embedded
from cht_sync.runtime import state as states
from cht_sync.settings import Settings, declared

DEADLINE = 120.0
"""Seconds after which a test gives up waiting; far more than anything takes."""


NO_DOCKER = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
"""Whatever there is on the machine of whoever runs the tests: local processes are meant."""


@dataclass
class Installation:
    """`home` is where `.env` and `.cht-sync/` are; `variables` are the operator's settings."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *arguments: str, check: bool = True, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of cht-sync to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "cht_sync", *arguments],
            env=self.environment(),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of cht-sync; whoever starts it waits for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "cht_sync", *arguments],
            env=self.environment(),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """What a command is started with: nothing of the settings of whoever runs the tests."""
        names = {name for name, _variable in declared()}
        kept = {name: value for name, value in os.environ.items() if name not in names}
        return {**kept, **NO_DOCKER, **self.variables, "CHT_SYNC_HOME": str(self.home)}

    @property
    def state(self) -> states.EnvironmentState:
        found = states.read(self.home / ".cht-sync")
        assert found is not None, "nothing is recorded"
        return found

    @property
    def settings(self) -> Settings:
        """The settings with the ports that were really taken."""
        return embedded.recorded_settings(self.state, self.home)

    def process_id(self, service: str) -> int:
        """The recorded process of a service."""
        (found,) = (one for one in self.state.services if one.name == service)
        assert found.pid is not None
        return found.pid

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json", check=False).stdout)
        return found

    def couchdb(self, method: str, path: str, **options: Any) -> Any:
        """Ask the CouchDB-protocol server; returns the JSON of a successful answer."""
        settings = self.settings
        answer = requests.request(
            method,
            f"{settings.couchdb_url}/{path}",
            auth=(settings.couchdb_user, settings.couchdb_password),
            timeout=60,
            **options,
        )
        answer.raise_for_status()
        return answer.json()

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL as the owner."""
        settings = self.settings
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=settings.postgres_port,
            user=settings.postgres_user,
            password=settings.postgres_password,
            dbname=settings.postgres_db,
        )
        with closing(connection), connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def winners(self, database: str) -> dict[str, tuple[str, bool, Any]]:
        """What CouchDB holds: id to revision, deletion mark and document."""
        changes = self.couchdb("GET", f"{quote(database, safe='')}/_changes?include_docs=true")
        return {
            row["id"]: (row["changes"][0]["rev"], row.get("deleted", False), row["doc"])
            for row in changes["results"]
        }

    def rows(self, database: str) -> dict[str, tuple[str, bool, Any]]:
        """What PostgreSQL holds, in the same shape."""
        found = self.sql(f'select _id, _rev, _deleted, doc from v1."{database}"')
        return {document_id: (revision, deleted, doc) for document_id, revision, deleted, doc in found}

    def wait_until_same(self, database: str) -> None:
        """Wait until PostgreSQL holds as many current revisions as CouchDB, then compare everything."""
        winners = self.winners(database)
        wait_for(
            lambda: self._current(database, winners) == len(winners), f"{database} to catch up", self.logs
        )
        assert self.rows(database) == winners

    def logs(self) -> str:
        """The end of every log, for a failed assertion."""
        parts = []
        for path in sorted((self.home / ".cht-sync" / "logs").glob("*.log")):
            parts.append(f"--- {path.name}\n" + path.read_text(errors="replace")[-2000:])
        return "\n".join(parts)

    def processes(self) -> list[psutil.Process]:
        """Every living process that belongs to this installation."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            named = any(str(self.home) in word for word in process.cmdline())
            return named or process.environ().get("CHT_SYNC_HOME") == str(self.home)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _current(self, database: str, winners: Mapping[str, tuple[str, bool, Any]]) -> int:
        query = f'select _id, _rev from v1."{database}"'
        return sum(
            1 for document_id, revision in self.sql(query)
            if document_id in winners and winners[document_id][0] == revision
        )  # fmt: skip


def wait_for(condition: Callable[[], bool], what: str, explain: Callable[[], str] = lambda: "") -> None:
    """Ask until `condition` holds; there is no event for what other processes do."""
    pause = threading.Event()
    for _look in range(int(DEADLINE / 0.1)):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError(f"waited {DEADLINE:.0f} s for {what}\n{explain()}")


def living(winners: Mapping[str, tuple[str, bool, Any]], kinds: Iterable[str]) -> set[str]:
    """The ids of documents of these types that are not deleted."""
    wanted = set(kinds)
    return {
        document_id for document_id, (_revision, deleted, doc) in winners.items()
        if not deleted and doc.get("type") in wanted
    }  # fmt: skip
