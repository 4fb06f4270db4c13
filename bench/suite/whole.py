"""The whole local environment at rest, and its pipelines started anew."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bench.suite.stand import ask, busy, wait_until
from cht_sync import process
from cht_sync.runtime import embedded, state
from cht_sync.settings import Settings

OURS = ("supervisor", "postgrest", "logstash", "dbt")
"""What is ours; PostgreSQL and the CouchDB server are other people's programs."""


@dataclass(frozen=True)
class Idle:
    """`cores` is the share of one core by process; counts are those of the whole time."""

    seconds: float
    cores: Mapping[str, float]
    touches: int
    """Requests with which pipelines have shown that they live."""
    rows_written: int
    """In all tables but those that a touch writes: the progress and the schema's state."""
    dbt_runs: int
    databases: int

    @property
    def ours(self) -> float:
        """The share of a core of everything of ours together."""
        return sum(self.cores[name] for name in OURS)


@contextmanager
def local(home: Path) -> Iterator[Settings]:
    """`cht-sync up --env local`, without dashboards and generator; gives its settings."""
    words = [sys.executable, "-m", "cht_sync"]
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "CHT_SYNC_HOME": str(home)}
    options = ["--runtime", "embedded", "--detach", "--without", "superset", "--without", "data-generator"]
    process.run([*words, "up", "--env", "local", *options], env=environ, timeout=600)
    try:
        found = state.read(home / ".cht-sync")
        assert found is not None
        yield embedded.recorded_settings(found, home)
    finally:
        process.run([*words, "down"], env=environ, timeout=120)


def is_settled(settings: Settings, documents: int) -> bool:
    """Whether so many documents were read, and dbt has had nothing to do for a while."""
    (row,) = ask(
        settings,
        "select (select count(*) from v1.medic) >= %s"
        f" and max(started_at) < now() - interval '30 s' from {settings.dbt_postgres_schema}.dbt_runs",
        documents,
    )
    return bool(row[0])


def idle(settings: Settings, seconds: float) -> Idle:
    """Watch for so many seconds in which nothing changes."""
    found = state.read(settings.state_folder)
    assert found is not None
    pids = {one.name: one.pid for one in found.services if one.pid is not None}
    pids["supervisor"] = found.supervisor_pid
    touched, wrote, ran = _touches(settings), _rows_written(settings), _dbt_runs(settings)
    before = _busy(pids)
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    after = _busy(pids)
    return Idle(
        took,
        {name: (after[name] - before[name]) / took for name in pids},
        _touches(settings) - touched,
        _rows_written(settings) - wrote,
        _dbt_runs(settings) - ran,
        len(settings.couchdb_dbs),
    )


def restart(settings: Settings) -> float:
    """Kill the engine; seconds from the start of the new process until every pipeline follows its feed."""
    found = state.read(settings.state_folder)
    assert found is not None
    (engine,) = [one for one in found.services if one.name == "logstash"]
    assert engine.pid is not None
    (epochs,) = ask(settings, "select array_agg(epoch order by source) from v1.couchdb_progress")
    psutil.Process(engine.pid).kill()

    def new_process() -> float | None:
        now = state.read(settings.state_folder)
        pids = [one.pid for one in now.services if one.name == "logstash"] if now else []
        try:
            return psutil.Process(pids[0]).create_time() if pids[0] not in (None, engine.pid) else None
        except (psutil.NoSuchProcess, IndexError):
            return None

    wait_until(lambda: new_process() is not None)
    begun = new_process()
    assert begun is not None

    def all_follow() -> bool:
        (row,) = ask(
            settings,
            "select count(*) filter (where pending = 0 and updated_at > to_timestamp(%s)) = %s"
            " and array_agg(epoch order by source) <> %s::bigint[] from v1.couchdb_progress",
            begun,
            len(settings.couchdb_dbs),
            epochs[0],
        )
        return bool(row[0]) and _is_ready(settings)

    wait_until(all_follow)
    return time.time() - begun


def _is_ready(settings: Settings) -> bool:
    try:
        return (
            requests.get(f"http://127.0.0.1:{settings.logstash_api_port}/readyz", timeout=5).status_code
            == 200
        )
    except requests.RequestException:
        return False


def _busy(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: busy(psutil.Process(pid), alone=name == "supervisor") for name, pid in pids.items()}


def _touches(settings: Settings) -> int:
    (row,) = ask(settings, "select sum(batch) from v1.couchdb_progress")
    return int(row[0])


def _rows_written(settings: Settings) -> int:
    """Rows that were inserted, updated or deleted, but for those of a touch."""
    (row,) = ask(
        settings,
        "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables"
        " where relname not in ('couchdb_progress', 'cht_sync_state')",
    )
    return int(row[0])


def _dbt_runs(settings: Settings) -> int:
    (row,) = ask(settings, f"select count(*) from {settings.dbt_postgres_schema}.dbt_runs")
    return int(row[0])
