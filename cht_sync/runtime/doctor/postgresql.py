"""PostgreSQL: logins, the database, the schema, what roles may do, its clock."""

from __future__ import annotations

import time

from cht_sync.errors import ChtSyncError
from cht_sync.runtime import postgresql_access
from cht_sync.runtime.doctor import clock
from cht_sync.runtime.doctor.finding import Check, Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.runtime.doctor.warehouse import asked
from cht_sync.values import leaves_the_network
from cht_sync.warehouse import inspection, schema
from cht_sync.warehouse.connection import (
    Endpoint,
    authenticator_endpoint,
    dbt_endpoint,
    owner_endpoint,
    superset_endpoint,
)

GROUP = "PostgreSQL"
SETTINGS = ("POSTGRES_",)
OWN = ("postgres",)
ENCRYPTED = ("require", "verify-ca", "verify-full")


def _login(situation: Situation) -> Findings:
    settings = situation.given
    try:
        postgresql_access.check_owner(settings)
    except ChtSyncError as error:
        yield failed(error.message, error.hint or "")
        return
    endpoint = owner_endpoint(settings)
    place = f"{endpoint.host}:{endpoint.port}"
    if schema.is_there(endpoint):
        yield ok(f"{place} lets {endpoint.user} into {endpoint.database}")
    else:
        yield failed(
            f"PostgreSQL at {place} has no database {endpoint.database}",
            f"Make it: cht-sync init-db{situation.env}; or correct POSTGRES_DB",
        )


def _encryption(situation: Situation) -> Findings:
    settings = situation.given
    if settings.postgres_sslmode in ENCRYPTED or not leaves_the_network(settings.postgres_host):
        yield ok(f"POSTGRES_SSLMODE={settings.postgres_sslmode}")
    else:
        yield warning(
            f"POSTGRES_SSLMODE={settings.postgres_sslmode} may send documents to {settings.postgres_host} "
            "in the clear",
            "Set POSTGRES_SSLMODE=require, or verify-full",
        )


def _schema(situation: Situation) -> Findings:
    settings = situation.given
    init_db = f"cht-sync init-db{situation.env}"
    with asked(owner_endpoint(settings)) as connection:
        there, wanted = inspection.layout_there(connection, settings.postgres_schema), schema.layout()
        if there is None:
            yield failed(
                f"{settings.postgres_db} has no schema {settings.postgres_schema} of cht-sync",
                f"Make it: {init_db}; or correct POSTGRES_DB and POSTGRES_SCHEMA",
            )
            return
        if _version(there) > _version(wanted):
            yield failed(
                f"schema {settings.postgres_schema} has the layout {there}, newer than this version's "
                f"{wanted}",
                "Use the version of cht-sync that made it: git pull, make local",
            )
            return
        if there != wanted:
            yield failed(
                f"schema {settings.postgres_schema} has the layout {there}; this version's is {wanted}",
                f"Upgrade it, after a backup: {init_db}",
            )
        missing = inspection.missing_relations(connection, settings)
        models = settings.dbt_postgres_schema
        has_models = inspection.has_schema(connection, models)
    if missing:
        yield failed(
            f"schema {settings.postgres_schema} has no table {', '.join(missing)}",
            f"Make it: {init_db}; or correct COUCHDB_DBS",
        )
    if not has_models:
        yield failed(
            f"there is no schema {models} for the models",
            f"Make it: {init_db}; or correct DBT_POSTGRES_SCHEMA",
        )
    if there == wanted and has_models and not missing:
        yield ok(f"schema {settings.postgres_schema} has the layout {there} and a table for each database")


def _roles(situation: Situation) -> Findings:
    settings = situation.given
    init_db = f"Give it back: cht-sync init-db{situation.env}"
    with asked(owner_endpoint(settings)) as connection:
        absent = inspection.missing_roles(connection, settings)
        lacking = inspection.missing_rights(connection, settings)
    for role in absent:
        yield failed(f"there is no role {role}", f"Make it: cht-sync init-db{situation.env}")
    for right in lacking:
        yield failed(f"a grant is missing. {right}", init_db)
    if not absent and not lacking:
        yield ok("all are there and may do what they must")


def _role_logins(situation: Situation) -> Findings:
    settings = situation.given
    with asked(owner_endpoint(settings)) as connection:
        absent = inspection.missing_roles(connection, settings)
    wanted = {
        "DBT_POSTGRES_PASSWORD": dbt_endpoint(settings),
        "PGRST_DB_PASSWORD": authenticator_endpoint(settings),
        "SUPERSET_DB_PASSWORD": superset_endpoint(settings),
    }
    well = []
    for variable, endpoint in wanted.items():
        if variable in situation.refused:
            yield skipped(f"{endpoint.user}: {variable} must be set right first")
            continue
        if endpoint.user in absent or not endpoint.password:
            continue
        problem = _refusal(endpoint)
        elsewhere = endpoint.host != settings.postgres_host
        if problem is None:
            well.append(endpoint.user)
        elif elsewhere and endpoint.unreachable() is not None:
            yield failed(problem, "Correct DBT_POSTGRES_HOST, or start the PostgreSQL that should be there")
        else:
            place = ", and check DBT_POSTGRES_HOST" if elsewhere else ""
            remedy = f"Have {variable} set there: cht-sync init-db{situation.env}; or correct it{place}"
            yield failed(problem, remedy)
    if well:
        yield ok(f"let in: {' '.join(well)}")


def _refusal(endpoint: Endpoint) -> str | None:
    try:
        with endpoint.connect():
            return None
    except ChtSyncError as error:
        return error.message


def _clock(situation: Situation) -> Findings:
    with asked(owner_endpoint(situation.given)) as connection:
        before = time.time()
        there = inspection.clock(connection)
        yield clock.judged("PostgreSQL", there - (before + time.time()) / 2)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


LOGIN, SCHEMA = "postgresql-login", "schema"
CHECKS = (
    Check(LOGIN, GROUP, _login, settings=SETTINGS, running=OWN, limit=60),
    Check("encryption", GROUP, _encryption, settings=SETTINGS, running=OWN),
    Check(SCHEMA, GROUP, _schema, after=(LOGIN,), settings=SETTINGS, running=OWN),
    Check("roles", GROUP, _roles, after=(LOGIN,), settings=SETTINGS, running=OWN),
    Check("role-logins", GROUP, _role_logins, after=(LOGIN,), settings=SETTINGS, running=OWN),
    Check("postgresql-clock", GROUP, _clock, after=(LOGIN,), settings=SETTINGS, running=OWN),
)
