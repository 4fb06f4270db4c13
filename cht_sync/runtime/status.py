"""How an environment is doing: services, databases, models. The shape of `cht-sync status --json`."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime
from typing import Any

import psycopg2

from cht_sync.environments import SERVICE_NAMES
from cht_sync.errors import ChtSyncError
from cht_sync.load.ledger import Progress, progress_of_all
from cht_sync.migrate.ledger import Begun, MigrationLedger
from cht_sync.runtime.couchdb_counts import CouchdbCounts
from cht_sync.runtime.pipelines import pipeline_problems
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.runtime.superset import superset_problems
from cht_sync.settings import Settings
from cht_sync.transform.stale_views import stale_views
from cht_sync.transform.summary import LastTests, Problem, Reached, Summary, summary
from cht_sync.warehouse.connection import dbt_endpoint
from cht_sync.warehouse.progress import DatabaseProgress, read_progress


def gather(state: EnvironmentState, settings: Settings) -> dict[str, Any]:
    """Ask every part; what does not answer is None, with the reason under `problems`."""
    services = local_services(state)
    found = databases_and_models(settings)
    asked = {"logstash": pipeline_problems, "superset": superset_problems}
    for one in services:
        if one["name"] in asked and one["state"] == "running" and one["port"] is not None:
            found["problems"] += asked[one["name"]](f"127.0.0.1:{one['port']}")
    return shape(state, services, found)


def shape(state: EnvironmentState, services: list[dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    """The whole of `status --json`; `found` is what `databases_and_models` returned, and more problems."""
    return {
        "environment": state.environment.value,
        "runtime": state.runtime,
        "services": services,
        **found,
    }


def databases_and_models(settings: Settings) -> dict[str, Any]:
    """Ask PostgreSQL and CouchDB; the keys databases, dbt and problems."""
    problems: list[str] = []
    databases = _databases(settings, problems)
    return {"databases": databases, "dbt": _dbt(settings, _behind(databases), problems), "problems": problems}


def nothing_runs() -> dict[str, Any]:
    """The same shape where nothing runs."""
    return {
        "environment": None,
        "runtime": None,
        "services": [],
        "databases": [],
        "dbt": None,
        "problems": [],
    }


def local_services(state: EnvironmentState) -> list[dict[str, Any]]:
    """The services of an environment of local processes; not what ends when its work is done."""
    return [service(one) for one in state.services if one.name in SERVICE_NAMES]


def service(one: ServiceState) -> dict[str, Any]:
    """A local process as `status --json` shows it: one that is recorded and gone is stopped."""
    alive = one.process is not None and one.process.find() is not None
    shown = one.state if alive or one.state in ("waiting", "starting", "restarting") else "stopped"
    return service_shape(one, shown)


def service_shape(one: ServiceState, state: str) -> dict[str, Any]:
    """A service as `status --json` shows it."""
    return {
        "name": one.name,
        "state": state,
        "port": one.port,
        "since": datetime.fromtimestamp(one.since, UTC).isoformat(timespec="seconds") if one.since else None,
        "restarts": one.restarts,
    }


def _databases(settings: Settings, problems: list[str]) -> list[dict[str, Any]]:
    progress: dict[str, DatabaseProgress] = {}
    loads: dict[str, Progress] = {}
    moves: dict[str, Begun] = {}
    try:
        with dbt_endpoint(settings).connect() as connection:
            progress = read_progress(connection, settings.postgres_schema, _sources(settings))
            with contextlib.suppress(psycopg2.errors.UndefinedTable):  # an older layout knows none
                loads = progress_of_all(connection, settings)
                with connection.cursor() as cursor:
                    moves = MigrationLedger.begun(cursor, settings.postgres_schema)
    except (ChtSyncError, psycopg2.Error) as error:
        problems.append(str(error).strip().splitlines()[0])
    counts = CouchdbCounts(settings, problems)
    return [
        _database(name, progress.get(name), counts)
        | {"load": _load(loads.get(name)), "migration": _migration(moves.get(name))}
        for name in settings.couchdb_dbs
    ]


def _database(name: str, progress: DatabaseProgress | None, counts: CouchdbCounts) -> dict[str, Any]:
    documents, pending = counts.ask(name, progress.sequence if progress else None)
    if pending is None and progress is not None and documents is not None:
        # CouchDB is there and does not count; where it is away, nobody knows what waits.
        pending = progress.pending
    return {
        "name": name,
        "documents": documents,
        "rows": progress.rows if progress else None,
        "tombstones": progress.tombstones if progress else None,
        "pending": pending,
        "seconds_behind": _seconds_behind(progress, pending),
        "documents_per_second": progress.documents_per_second if progress else None,
        "dead_letters": progress.dead_letters if progress else None,
        "replaced_values": progress.replaced_values if progress else None,
        "problem": progress.problem if progress else None,
    }


def _load(progress: Progress | None) -> dict[str, Any] | None:
    """A parallel load that has not ended."""
    if progress is None or progress.ended:
        return None
    return {
        "documents": progress.documents,
        "expected": progress.expected,
        "seconds_idle": progress.seconds_idle,
    }


def _migration(move: Begun | None) -> dict[str, Any] | None:
    """Rows that are taken over from an earlier program's table, until they are the pipeline's."""
    if move is None or move.handed_over:
        return None
    return {"relation": move.relation, "rows": move.read, "seconds_idle": move.seconds_idle}


def _seconds_behind(progress: DatabaseProgress | None, pending: int | None) -> float | None:
    """0 when nothing waits; else the seconds since nothing waited for the last time."""
    if progress is None or pending is None:
        return None
    if pending == 0:
        return 0.0
    return progress.seconds_since_caught_up


def _sources(settings: Settings) -> dict[str, str]:
    return {database: settings.source(database) for database in settings.couchdb_dbs}


def _behind(databases: list[dict[str, Any]]) -> float | None:
    """Seconds behind CouchDB, the greatest of all databases; None where one is not known."""
    behind = [one["seconds_behind"] for one in databases]
    return None if None in behind else max(behind, default=None)


def _dbt(settings: Settings, behind: float | None, problems: list[str]) -> dict[str, Any] | None:
    try:
        with dbt_endpoint(settings).connect() as connection:
            found = summary(connection, settings.dbt_postgres_schema)
            problems += stale_views(connection)
    except (ChtSyncError, psycopg2.Error) as error:
        problems.append(f"dbt: {str(error).strip().splitlines()[0]}")
        return None
    return None if found is None else models_status(found, behind)


def models_status(found: Summary, behind: float | None) -> dict[str, Any]:
    """The models as `status --json` shows them; `behind` is how far the pipelines are behind CouchDB."""
    return {
        "last_run": found.last_run.isoformat(timespec="seconds"),
        "result": found.result,
        "seconds": round(found.seconds, 2),
        "failed": found.failed,
        "failing": [_problem(one) for one in found.problems],
        "skipped": list(found.skipped),
        "freshness": _freshness(found.reached, behind) if found.reached else None,
        "tests": _tests(found.tests) if found.tests else None,
        "package": dataclasses.asdict(found.package),
    }


def _problem(one: Problem) -> dict[str, Any]:
    return {
        "name": one.name,
        "message": one.message,
        "compiled_sql": one.compiled_path,
        "since": one.since,
        "retry_at": one.retry_at,
    }


def _freshness(reached: Reached, behind: float | None) -> dict[str, Any]:
    """`seconds` is the way from CouchDB into the models; the others are parts of it."""
    return {
        "seconds": None if behind is None else round(reached.median + behind, 2),
        "median": round(reached.median, 2),
        "greatest": round(reached.greatest, 2),
        "greatest_of_last_hour": _rounded(reached.greatest_of_hour),
        "pipeline_seconds_behind": _rounded(behind),
        "documents": reached.documents,
        "at": reached.at.isoformat(timespec="seconds"),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _tests(tests: LastTests) -> dict[str, Any]:
    return {
        "at": tests.at.isoformat(timespec="seconds"),
        "passed": tests.passed,
        "warned": [_result_of_test(one) for one in tests.warned],
        "failed": [_result_of_test(one) for one in tests.failed],
    }


def _result_of_test(one: Problem) -> dict[str, str]:
    return {"name": one.name, "message": one.message, "compiled_sql": one.compiled_path}
