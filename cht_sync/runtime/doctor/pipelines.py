"""The pipelines: whether they run, and whether each saved position belongs to what is there."""

from __future__ import annotations

import re

import msgspec

from cht_sync.pipeline.couchdb.identity import Identity, identity
from cht_sync.runtime import pipelines as engine
from cht_sync.runtime.couchdb_access import Trouble
from cht_sync.runtime.doctor import couchdb, postgresql
from cht_sync.runtime.doctor.finding import Check, Finding, Findings, failed, ok, warning
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.runtime.doctor.warehouse import asked
from cht_sync.warehouse import inspection
from cht_sync.warehouse.connection import owner_endpoint
from cht_sync.warehouse.inspection import Stored

GROUP = "pipelines"
SETTINGS = (*couchdb.SETTINGS, *postgresql.SETTINGS)
SILENT = 300.0
"""Seconds without a sign of life; a living pipeline gives one each minute at least."""


def _engine(situation: Situation) -> Findings:
    told = engine.ask(situation.place("logstash"))
    for problem in told.failed:
        yield failed(problem, "See: cht-sync logs logstash")
    for problem in told.hindered:
        yield warning(problem, "It is tried again by itself. Since when: cht-sync logs logstash")
    if not told.failed and not told.hindered:
        yield ok("all of them run")


def _positions(situation: Situation) -> Findings:
    settings = situation.given
    sources = {name: settings.source(name) for name in settings.couchdb_dbs}
    with asked(owner_endpoint(settings)) as connection:
        there = inspection.stored_positions(connection, settings.postgres_schema, list(sources.values()))
    welcome = situation.couchdb.welcome()
    for name, source in sources.items():
        stored = there.get(source)
        if stored is None or stored.sequence is None:
            yield _never_read(situation, name)
            continue
        information = situation.couchdb.database(name)
        if not isinstance(information, Trouble):
            found = identity(welcome, msgspec.json.encode(information))
            yield from _judged(situation, name, stored, found, str(information.get("update_seq", "")))


def _judged(situation: Situation, name: str, stored: Stored, found: Identity, newest: str) -> Findings:
    known = Identity(stored.server_uuid, stored.instance_start_time)
    accept = f"cht-sync accept-server --database {name}{situation.env}"
    if known.is_another_server(found):
        yield failed(
            f"{name}: the saved position belongs to the CouchDB {known.server_uuid}, and this is "
            f"{found.server_uuid}",
            f"Correct COUCHDB_HOST; or, if this one takes its place: {accept}",
        )
        return
    if known.is_another_instance(found):
        yield warning(
            f"{name}: the saved position belongs to a database that was deleted and made anew",
            "A running pipeline reads it from its start by itself: cht-sync up. What differs then: cht-sync "
            "verify",
        )
        return
    answer = situation.couchdb.changes(name, stored.sequence or "0")
    if isinstance(answer, Trouble):
        yield failed(answer.message, f"Read it again: {accept}")
        return
    if stored.problem is not None:
        yield failed(f"{name} is not read: {stored.problem}", "See: cht-sync status, cht-sync logs logstash")
        return
    saved, last = _number(stored.sequence), _number(newest)
    if saved is not None and last is not None and saved > last:
        yield warning(
            f"{name}: the saved position begins with {saved}, CouchDB's last change with {last}. After a "
            "restored backup changes may be missing; on a cluster these numbers need not grow, and all may "
            "be well",
            f"See whether something is missing: cht-sync verify --database {name}{situation.env}. Only then "
            f"read it again: {accept}",
        )
    yield _progress(situation, name, stored, answer.get("pending"))


def _progress(situation: Situation, name: str, stored: Stored, pending: object) -> Finding:
    waiting = pending if isinstance(pending, int) else stored.pending
    if not waiting:
        return ok(f"{name}: nothing waits")
    if stored.silent_seconds <= SILENT:
        return ok(f"{name}: {waiting} changes wait, the pipeline is at work")
    silent = f"{name}: {waiting} changes wait, and no pipeline gave a sign of life for " + _ago(
        stored.silent_seconds
    )
    if situation.is_running("logstash"):
        return failed(f"{silent}: it stands still", "See: cht-sync status, cht-sync logs logstash")
    return failed(f"{silent}: none runs", f"Start it: cht-sync up{situation.env}")


def _never_read(situation: Situation, name: str) -> Finding:
    if situation.is_running("logstash"):
        return warning(f"{name}: nothing was read yet", "See: cht-sync status, cht-sync logs logstash")
    return ok(f"{name}: nothing was read yet; the first start reads it from COUCHDB_SEQ")


def _letters(situation: Situation) -> Findings:
    settings = situation.given
    with asked(owner_endpoint(settings)) as connection:
        letters = inspection.open_letters(connection, settings.postgres_schema)
    for database, count in letters.items():
        yield warning(
            f"{database}: {count} open, which PostgreSQL cannot hold",
            f"See them: cht-sync dead-letters list{situation.env}",
        )
    if not letters:
        yield ok("none is open")


def _number(sequence: str | None) -> int | None:
    """The number before the dash. It grows on a single CouchDB; a cluster promises no order of sequences."""
    found = re.match(r"(\d+)(-|$)", sequence or "")
    return None if found is None else int(found[1])


def _ago(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


CHECKS = (
    Check("engine", GROUP, _engine, about="logstash"),
    Check(
        "positions",
        GROUP,
        _positions,
        after=("couchdb-login", postgresql.SCHEMA),
        settings=SETTINGS,
        running=(*couchdb.OWN, *postgresql.OWN),
    ),
    Check(
        "dead-letters",
        GROUP,
        _letters,
        after=(postgresql.SCHEMA,),
        settings=postgresql.SETTINGS,
        running=postgresql.OWN,
    ),
)
