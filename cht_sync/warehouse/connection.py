"""How to reach the PostgreSQL that holds the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError
from cht_sync.postgresql import connect
from cht_sync.settings import Settings

CONNECT_TIMEOUT = 5
"""Seconds."""
ANSWER = re.compile(r"FATAL: +|fe_sendauth: ")
"""What stands before the reason where a server was reached and did not let us in."""

ADVICE = "Either provide the file"
"""How libpq's own advice begins, under its line on a missing root certificate."""


@dataclass(frozen=True)
class Endpoint:
    """A database, and who connects."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str = "prefer"
    sslrootcert: str = ""

    @contextmanager
    def connect(self, *, database: str | None = None) -> Iterator[Connection]:
        """Give a connection in autocommit mode; raises ChtSyncError when there is none to be had.

        Names without a schema are PostgreSQL's own: who may create functions in `public`, as everybody could
        before PostgreSQL 15, could else put theirs into the place of these.
        """
        try:
            connection = self._opened(database or self.database)
        except psycopg2.OperationalError as error:
            raise self._not_connected(str(error)) from error
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("set search_path = pg_catalog")
            yield connection
        finally:
            connection.close()

    def unreachable(self) -> str | None:
        """Why no PostgreSQL answers there, in one line; None where one does, though it may refuse us."""
        try:
            self._opened(self.database).close()
        except psycopg2.OperationalError as error:
            answered, _reason = why_not(str(error))
            return None if answered else self._not_connected(str(error)).message
        return None

    def _opened(self, database: str) -> Connection:
        return connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=self.user,
            password=self.password,
            sslmode=self.sslmode,
            sslrootcert=self.sslrootcert or None,
            connect_timeout=CONNECT_TIMEOUT,
            application_name="cht-sync",
        )

    def _not_connected(self, said: str) -> ChtSyncError:
        answered, reason = why_not(said)
        if hint := _about_tls(reason):
            return ChtSyncError(f"PostgreSQL at {self.host}:{self.port}: {reason}", hint=hint)
        if answered:
            return ChtSyncError(
                f"PostgreSQL at {self.host}:{self.port} refuses {self.user}: {reason}",
                hint="Check POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB, POSTGRES_USER and POSTGRES_PASSWORD.",
            )
        return ChtSyncError(
            f"PostgreSQL at {self.host}:{self.port} cannot be reached: {reason}",
            hint="Check POSTGRES_HOST and POSTGRES_PORT, and whether PostgreSQL runs there.",
        )

    def libpq_environment(self) -> Mapping[str, str]:
        """The variables by which psql finds the database; no secret in its arguments."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": self.sslmode,
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT),
            **({"PGSSLROOTCERT": self.sslrootcert} if self.sslrootcert else {}),
        }

    def uri(self) -> str:
        """The address with the password in it, for an environment variable."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        root = {"sslrootcert": self.sslrootcert} if self.sslrootcert else {}
        query = urlencode({"sslmode": self.sslmode, **root}, safe="/")
        return (
            f"postgresql://{user}:{password}@{self.host}:{self.port}/{quote(self.database, safe='')}?{query}"
        )


def why_not(said: str) -> tuple[bool, str]:
    """Whether a server answered, and its reason or why not, of what libpq says when there is no connection.

    That is a line for each address that it tried, and under it, indented, what may be wrong.
    """
    lines = [line for line in said.splitlines() if line and not line[0].isspace()]
    tried = [line for line in lines if not line.startswith(ADVICE)] or ["no reason given"]
    if answers := [line for line in tried if ANSWER.search(line)]:
        return True, ANSWER.split(answers[-1])[-1]
    return False, tried[-1].split(" failed: ")[-1]


def _about_tls(reason: str) -> str | None:
    """What to do where TLS is why there is no connection; None where it is not. The words are libpq's."""
    if "does not match host name" in reason:
        return "Give POSTGRES_HOST (DBT_POSTGRES_HOST) a name that is in the certificate."
    if "root certificate file" in reason or "certificate verify failed" in reason:
        return (
            "Name the PEM file of the authority that has signed its certificate: POSTGRES_SSLROOTCERT; "
            "or has the certificate expired?"
        )
    if "server does not support SSL" in reason:
        return "Switch TLS on there, or correct POSTGRES_SSLMODE."
    return None


def owner_endpoint(settings: Settings) -> Endpoint:
    """The database as its owner sees it."""
    return _endpoint(settings, settings.postgres_user, settings.postgres_password)


def authenticator_endpoint(settings: Settings) -> Endpoint:
    """The database as PostgREST logs in."""
    return _endpoint(settings, settings.authenticator_role, settings.pgrst_db_password)


def superset_endpoint(settings: Settings) -> Endpoint:
    """The database as dashboards see it."""
    return _endpoint(settings, settings.superset_role, settings.superset_db_password)


def metadata_endpoint(settings: Settings) -> Endpoint:
    """The database as Superset sees it for its own tables."""
    return _endpoint(settings, settings.superset_metadata_role, settings.superset_metadata_password)


def dbt_endpoint(settings: Settings) -> Endpoint:
    """The database as dbt sees it: it reads documents and owns the models."""
    host = settings.dbt_postgres_host or settings.postgres_host
    return _endpoint(settings, settings.dbt_role, settings.dbt_postgres_password, host=host)


def _endpoint(settings: Settings, user: str, password: str, *, host: str = "") -> Endpoint:
    return Endpoint(
        host or settings.postgres_host,
        settings.postgres_port,
        settings.postgres_db,
        user,
        password,
        settings.postgres_sslmode,
        settings.postgres_sslrootcert,
    )
