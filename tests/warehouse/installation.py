"""A database made by init-db-resources.sh, and what tests ask of it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from postgres_fixture import PostgresServer
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync import process
from cht_sync.errors import ChtSyncError

CHECKOUT = Path(__file__).parents[2]
PARTS = ("authenticator", "anon", "ingest", "superset", "superset_metadata", "dbt")
LOGINS = ("authenticator", "superset", "superset_metadata", "dbt")
SCRIPT = CHECKOUT / "postgres" / "init-db-resources.sh"


@dataclass
class Installation:
    """One database, named as its roles begin."""

    server: PostgresServer
    name: str
    passwords: Mapping[str, str] = field(
        default_factory=lambda: {role: secrets.token_hex(8) for role in LOGINS}
    )

    def init(
        self,
        databases: str = "medic",
        *,
        owner: tuple[str, str] | None = None,
        shell: Sequence[str] = ("sh",),
        **settings: str,
    ) -> list[str]:
        """Run the script, and return the lines that it says. Raises ChtSyncError with what psql said."""
        environment = self.environment(databases, owner=owner) | settings
        return process.run([*shell, SCRIPT], env=environment).splitlines()

    def environment(self, databases: str, *, owner: tuple[str, str] | None = None) -> dict[str, str]:
        """What the script reads."""
        user, password = owner or (self.server.user, self.server.password)
        return {
            "PATH": f"{self.server.programs}:{os.environ['PATH']}",
            "PGHOST": self.server.host,
            "PGPORT": str(self.server.port),
            "PGPASSWORD": password,
            "POSTGRES_USER": user,
            "POSTGRES_DB": self.name,
            "COUCHDB_DBS": databases,
            "PGRST_DB_PASSWORD": self.passwords["authenticator"],
            "DBT_POSTGRES_PASSWORD": self.passwords["dbt"],
            "SUPERSET_DB_PASSWORD": self.passwords["superset"],
        }

    def settings(self, secret: str) -> dict[str, str]:
        """The operator's settings that name it; `secret` stands for each that is nobody's login here."""
        return {
            "POSTGRES_HOST": self.server.host,
            "POSTGRES_PORT": str(self.server.port),
            "POSTGRES_USER": self.server.user,
            "POSTGRES_PASSWORD": self.server.password,
            "POSTGRES_DB": self.name,
            "DBT_POSTGRES_PASSWORD": self.passwords["dbt"],
            "SUPERSET_PASSWORD": secret,
            "SUPERSET_SECRET_KEY": secret,
            "SUPERSET_DB_PASSWORD": self.passwords["superset"],
            "PGRST_DB_PASSWORD": self.passwords["authenticator"],
            "PGRST_JWT_SECRET": secret,
        }

    def refusal(self, databases: str, **settings: str) -> str:
        """What the script says when it refuses."""
        try:
            self.init(databases, **settings)
        except ChtSyncError as error:
            return str(error)
        raise AssertionError(f"{databases!r} was accepted")

    def connect(self) -> Connection:
        """A connection of the owner, in transactions."""
        return psycopg2.connect(self.server.dsn(self.name))

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with closing(self.connect()) as connection:
            yield connection

    def login(self, role: str) -> Connection:
        """A connection of one of the roles that may log in."""
        return psycopg2.connect(
            host=self.server.host,
            port=self.server.port,
            dbname=self.name,
            user=f"{self.name}_{role}",
            password=self.passwords[role],
        )

    def query(self, statement: str | sql.Composable, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the owner, commit, and return what it answers."""
        with self.connected() as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str | sql.Composable, *values: Any) -> Any:
        ((value,),) = self.query(statement, *values)
        return value

    def compressions(self) -> list[str]:
        """What columns may be compressed with: none by choice before PostgreSQL 14."""
        choices = "select unnest(enumvals) from pg_settings where name = 'default_toast_compression'"
        return [one for (one,) in self.query(choices)]

    def progress(self) -> tuple[Any, ...]:
        """Sequence, pending count, epoch and batch number of the only source."""
        (row,) = self.query("select seq, pending, epoch, batch from v1.couchdb_progress")
        return row

    def drop_roles(self) -> None:
        """Roles belong to the cluster, so they outlive the database."""
        roles = [f"{self.name}_{part}" for part in PARTS]
        with self.connected() as connection, connection, connection.cursor() as cursor:
            cursor.execute("select rolname from pg_roles where rolname = any(%s)", (roles,))
            for role in [sql.Identifier(name) for (name,) in cursor.fetchall()]:
                cursor.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(role))


@contextmanager
def plain_owner(installation: Installation) -> Iterator[tuple[str, str]]:
    """Name and password of an owner who is no superuser, as on a server that somebody else runs."""
    owner = f"{installation.name}_owner"
    installation.query(
        f"create role {owner} login createrole password 'secret';"
        f"alter database {installation.name} owner to {owner}"
    )
    try:
        yield owner, "secret"
    finally:
        installation.drop_roles()
        installation.query(f"alter database {installation.name} owner to {installation.server.user}")
        installation.query(f"drop owned by {owner} cascade; drop role {owner}")


def put(
    connection: Connection,
    *documents: tuple[str, str, Any],
    table: str = "medic",
    headers: Mapping[str, str] | None = None,
    deleted: bool = False,
) -> None:
    """Upsert (id, rev, doc) in the open transaction as PostgREST does, with these request headers."""
    rows = [{"_id": id, "_rev": rev, "doc": doc, "_deleted": deleted} for id, rev, doc in documents]
    with connection.cursor() as cursor:
        cursor.execute(
            "select set_config('request.headers', %s, true)", (json.dumps(dict(headers)) if headers else "",)
        )
        cursor.execute(
            sql.SQL("""
                insert into {} (_id, _rev, doc, _deleted)
                  select _id, _rev, doc, _deleted
                  from json_to_recordset(%s) as _(_id text, _rev text, doc jsonb, _deleted boolean)
                on conflict (_id) do update set _rev = excluded._rev, doc = excluded.doc,
                  _deleted = excluded._deleted
            """).format(sql.Identifier("v1", table)),
            (json.dumps(rows),),
        )


def headers(
    epoch: int,
    batch: int,
    *,
    seq: str | None = None,
    pending: int | None = None,
    release: bool = False,
    source: str = "couch/medic",
) -> dict[str, str]:
    """The request headers of a native writer."""
    made = {"cht-sync-source": source, "cht-sync-epoch": str(epoch), "cht-sync-batch": str(batch)}
    if seq is not None:
        made["cht-sync-seq"] = seq
    if pending is not None:
        made["cht-sync-pending"] = str(pending)
    if release:
        made["cht-sync-release"] = "true"
    return made
