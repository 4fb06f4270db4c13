"""What an administrator of PostgreSQL does once, so that POSTGRES_USER needs no right of its own afterwards.

The roles, who may become whom, and the database. POSTGRES_USER owns the database and may become the roles, so
the ordinary init-db, as POSTGRES_USER, sets their passwords and makes everything else; it need not make roles
or databases. One list of steps is printed for psql, or run with the administrator's address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import parse_dsn

from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.postgresql import connect
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import CONNECT_TIMEOUT, why_not
from cht_sync.warehouse.schema import MAINTENANCE_DATABASE
from cht_sync.warehouse.scram import verifier

EXAMPLE = "for example postgresql://admin@postgres.example.org/postgres"
INSUFFICIENT_PRIVILEGE = "42501"
HEAD = """\
-- For an administrator of the PostgreSQL server: roles and the database {database} for cht-sync. Run it with
-- psql against any database of the server, as often as you like; nothing is deleted. It holds no password,
-- only the SCRAM verifier of that of {owner}. Afterwards, as {owner}: cht-sync init-db
\\set ON_ERROR_STOP on
\\encoding UTF8
"""
STRANGERS = """
declare
  stranger text := (select min(rolname) from pg_roles
    where rolname in (ROLES) and (rolsuper or rolname in (current_user, session_user)));
begin
  if stranger is not null then
    raise exception '% is a superuser, or is who runs this, and needs no administrator', stranger
      using hint = 'Name another role in POSTGRES_USER or DBT_POSTGRES_USER. Nothing was changed.';
  end if;
end"""
"""Their passwords and rights are nothing that we change."""


@dataclass(frozen=True)
class _Step:
    """A statement, and the condition under which there is nothing to do."""

    statement: str
    unless: str | None = None

    @property
    def query(self) -> str:
        """Yields the statement where it is needed."""
        return f"select {_literal(self.statement)} where not {self.unless}"

    @property
    def for_psql(self) -> str:
        return f"{self.query} \\gexec\n" if self.unless else f"{self.statement};\n"


def as_sql(settings: Settings) -> str:
    """The steps as a script for psql."""
    head = HEAD.format(database=settings.postgres_db, owner=settings.postgres_user)
    return head + "".join(step.for_psql for step in _steps(settings))


def parsed(address: str) -> dict[str, str]:
    """The parts of an administrator's address, as libpq names them. Raises SettingsError."""
    try:
        parts: dict[str, str] = parse_dsn(address)
    except (psycopg2.ProgrammingError, UnicodeDecodeError):
        parts = {}
    if not parts.get("user"):
        raise SettingsError([f"--admin-url is no address of a PostgreSQL with a user in it; {EXAMPLE}"])
    return parts


def run(settings: Settings, address: Mapping[str, str]) -> None:
    """Run the steps as who `address` names, at POSTGRES_HOST unless it says where.

    Raises ChtSyncError, which holds nothing secret.
    """
    parts = {
        "host": settings.postgres_host,
        "port": str(settings.postgres_port),
        "sslmode": settings.postgres_sslmode,
        **({"sslrootcert": settings.postgres_sslrootcert} if settings.postgres_sslrootcert else {}),
        "dbname": MAINTENANCE_DATABASE,
        "connect_timeout": str(CONNECT_TIMEOUT),
        "application_name": "cht-sync",
        **address,
    }
    place = f"PostgreSQL at {parts['host']}:{parts['port']}"
    try:
        connection = connect(**parts)
    except psycopg2.OperationalError as error:
        answered, reason = why_not(str(error))
        what = f"refuses {parts['user']}" if answered else "cannot be reached"
        raise ChtSyncError(f"{place} {what}: {reason}", hint="Check --admin-url and its password.") from None
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for step in _steps(settings):
                if step.unless:
                    cursor.execute(step.query)
                if not step.unless or cursor.fetchall():
                    cursor.execute(step.statement)
    except psycopg2.Error as error:
        # Not the statement, which may hold a verifier.
        needed = "An administrator is a superuser, or has createrole and createdb."
        raise ChtSyncError(
            f"{place}: {error.diag.message_primary or type(error).__name__}",
            hint=needed if error.pgcode == INSUFFICIENT_PRIVILEGE else error.diag.message_hint,
        ) from None
    finally:
        connection.close()


def _steps(settings: Settings) -> Iterator[_Step]:
    owner, database = settings.postgres_user, settings.postgres_db
    authenticator, ingest = settings.authenticator_role, settings.ingest_role
    logins = [authenticator, settings.superset_role]
    if settings.superset_metadata_password:
        logins.append(settings.superset_metadata_role)
    if settings.dbt_role != owner:
        logins.append(settings.dbt_role)
    closed = [settings.anonymous_role, ingest]
    roles = [owner, *logins, *closed]

    yield _Step("set search_path = pg_catalog")
    yield _Step(_refusal_of_strangers(roles))
    for role in roles:
        yield _Step(
            f"create role {_identifier(role)}",
            f"exists (select from pg_roles where rolname = {_literal(role)})",
        )
    for role in (owner, *logins):
        yield _Step(f"alter role {_identifier(role)} login", _has(role, "rolcanlogin"))
    for role in closed:
        yield _Step(f"alter role {_identifier(role)} nologin", _has(role, "not rolcanlogin"))
    yield _Step(f"alter role {_identifier(authenticator)} noinherit", _has(authenticator, "not rolinherit"))
    password = _literal(verifier(settings.postgres_password))
    yield _Step(f"alter role {_identifier(owner)} password {password}")
    for role in closed:
        yield _grant(role, authenticator)
    # Who may become a role may set its password.
    for role in (*logins, ingest):
        yield _grant(role, owner)
    # Whoever gives a database to a role must be able to become that.
    yield _Step(f"grant {_identifier(owner)} to current_user", _may_become("current_user", _literal(owner)))
    yield _Step(
        f"create database {_identifier(database)} owner {_identifier(owner)} "
        "template template0 encoding 'UTF8'",
        f"exists (select from pg_database where datname = {_literal(database)})",
    )
    yield _Step(
        f"alter database {_identifier(database)} owner to {_identifier(owner)}",
        f"exists (select from pg_database where datname = {_literal(database)} "
        f"and pg_get_userbyid(datdba) = {_literal(owner)})",
    )


def _refusal_of_strangers(roles: Sequence[str]) -> str:
    return "do " + _literal(STRANGERS.replace("ROLES", ", ".join(_literal(role) for role in roles)))


def _grant(role: str, member: str) -> _Step:
    return _Step(
        f"grant {_identifier(role)} to {_identifier(member)}", _may_become(_literal(member), _literal(role))
    )


def _may_become(member: str, role: str) -> str:
    old = "current_setting('server_version_num')::int < 160000"
    return f"pg_has_role({member}, {role}, case when {old} then 'member' else 'set' end)"


def _has(role: str, condition: str) -> str:
    return f"exists (select from pg_roles where rolname = {_literal(role)} and {condition})"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    escape = "E" if "\\" in text else ""
    return f"{escape}'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
