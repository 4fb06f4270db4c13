"""CouchDB: one login, each database, its feed, its clock."""

from __future__ import annotations

from cht_sync.runtime.couchdb_access import OF_SERVER, Kind, Trouble
from cht_sync.runtime.doctor import clock
from cht_sync.runtime.doctor.finding import Check, Findings, failed, ok
from cht_sync.runtime.doctor.situation import Situation

GROUP = "CouchDB"
SETTINGS = ("COUCHDB_",)
OWN = ("couchdb",)


def _login(situation: Situation) -> Findings:
    settings = situation.given
    answer = situation.couchdb.database(settings.couchdb_dbs[0])
    if isinstance(answer, Trouble) and answer.kind in OF_SERVER:
        yield failed(answer.message, _sentence(answer))
    else:
        yield ok(f"{settings.couchdb_url} lets {settings.couchdb_user} in")


def _databases(situation: Situation) -> Findings:
    names = situation.given.couchdb_dbs
    well = []
    for name in names:
        answer = situation.couchdb.database(name)
        if not isinstance(answer, Trouble):
            well.append(name)
            continue
        near = situation.couchdb.near(name) if answer.kind is Kind.MISSING else []
        meant = f"; there is {' and '.join(near)}" if near else ""
        yield failed(answer.message + meant, _sentence(answer))
    if well:
        yield ok(f"may be read: {' '.join(well)}")


def _changes(situation: Situation) -> Findings:
    well = []
    for name in situation.given.couchdb_dbs:
        if isinstance(situation.couchdb.database(name), Trouble):
            continue  # said already
        answer = situation.couchdb.changes(name)
        if isinstance(answer, Trouble):
            yield failed(answer.message, _sentence(answer))
        else:
            well.append(name)
    if well:
        yield ok(f"may be followed: {' '.join(well)}")


def _clock(situation: Situation) -> Findings:
    yield clock.judged("CouchDB", situation.couchdb.seconds_ahead)


def _sentence(trouble: Trouble) -> str:
    return trouble.remedy[0].upper() + trouble.remedy[1:]


CHECKS = (
    Check("couchdb-login", GROUP, _login, settings=SETTINGS, running=OWN, limit=60),
    Check("couchdb-databases", GROUP, _databases, after=("couchdb-login",), settings=SETTINGS, running=OWN),
    Check("couchdb-changes", GROUP, _changes, after=("couchdb-login",), settings=SETTINGS, running=OWN),
    Check("couchdb-clock", GROUP, _clock, after=("couchdb-login",), settings=SETTINGS, running=OWN),
)
