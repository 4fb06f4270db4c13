"""One database with couch2pg's schema in `public` and ours in `v1`, and the same documents in both."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from click.testing import CliRunner, Result
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from warehouse.installation import Installation, plain_owner, put

from cht_sync.cli import main
from cht_sync.environments import Environment
from cht_sync.generator.contents import content_of
from cht_sync.generator.origin import DEFAULT_BASE_DATE, Origin
from cht_sync.migrate.making import Report
from cht_sync.migrate.old import table_of
from cht_sync.migrate.views import Wishes, drop_views, make_views
from cht_sync.settings import Settings, load
from cht_sync.warehouse.connection import owner_endpoint
from migrate.couch2pg_schema import SCHEMA

SECRET = secrets.token_hex(32)
DATABASES = ("medic", "medic-sentinel", "medic-users-meta", "_users")
ORIGIN = Origin(7, DEFAULT_BASE_DATE, configured_types=False)
CATALOG = """
    select nspname::text, relname::text, relkind::text, relfilenode, relacl::text,
      obj_description(pg_class.oid), pg_class.xmin::text
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname !~ '^pg_(toast|temp)' and nspname not in ('information_schema', 'pg_catalog')
    order by 1, 2
"""


@contextmanager
def of_plain_owner(installation: Installation, home: Path) -> Iterator[Both]:
    """Both with a small programme, of an owner who is no superuser."""
    with plain_owner(installation) as (owner, password):
        both = Both(installation, home, changes={"POSTGRES_USER": owner, "POSTGRES_PASSWORD": password})
        installation.init(" ".join(both.databases), owner=(owner, password))
        both.with_couch2pg()
        both.store_programme(50)
        both.query("select refresh_matviews()")
        yield both


@dataclass
class Both:
    """The two programs' side of one database."""

    installation: Installation
    home: Path
    databases: tuple[str, ...] = DATABASES
    changes: Mapping[str, str] = field(default_factory=dict)
    """Settings that differ."""

    def environment(self) -> dict[str, str]:
        return {
            "COUCHDB_HOST": "localhost",
            "COUCHDB_PASSWORD": SECRET,
            "COUCHDB_USER": "reader",
            "COUCHDB_DBS": " ".join(self.databases),
            **self.installation.settings(SECRET),
            "CHT_SYNC_HOME": str(self.home),
            **self.changes,
        }

    @property
    def settings(self) -> Settings:
        environment = self.environment()
        return load(Environment.GAMMA, home=self.home, environ=environment, read_file=False, accepted=True)

    def init(self, *databases: str) -> None:
        """Run init-db for these databases from now on."""
        self.databases = databases
        self.installation.init(" ".join(databases))

    def with_couch2pg(self) -> None:
        """Make couch2pg's schema."""
        self.query(SCHEMA)

    def store(self, database: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Store documents as each program does, of couch2pg where its schema is there."""
        given = [dict(one) for one in documents]
        with self.installation.connected() as connection, connection:
            put(connection, *((one["_id"], "1-a", one) for one in given), table=database)
        table = sql.Identifier("public", table_of(database))
        if self.query("select to_regclass('public.couchdb') is not null") == [(True,)]:
            insert = sql.SQL("insert into {} select jsonb_array_elements(%s)").format(table)
            self.query(insert, json.dumps(given))

    def store_programme(self, count: int = 400) -> None:
        """Documents of the generator in every database that has some."""
        for database in self.databases:
            content = content_of(database)
            numbers = range(content.count(count))
            self.store(database, (content.make(ORIGIN, number) for number in numbers))

    def delete(self, database: str, *ids: str) -> None:
        with self.installation.connected() as connection, connection:
            put(
                connection,
                *((one, "2-b", {"_id": one, "_deleted": True}) for one in ids),
                table=database,
                deleted=True,
            )
        table = sql.Identifier("public", table_of(database))
        self.query(sql.SQL("delete from {} where doc ->> '_id' = any(%s)").format(table), list(ids))

    def migrate(self, **wishes: Any) -> Report:
        """Run the work of the command."""
        with owner_endpoint(self.settings).connect() as connection:
            return make_views(self.settings, connection, Wishes(**wishes))

    def drop(self) -> Report:
        with owner_endpoint(self.settings).connect() as connection:
            return drop_views(self.settings, connection)

    def cli(self, *words: str) -> Result:
        """Run `cht-sync migrate views`."""
        variables = dict.fromkeys(Settings.__dataclass_fields__, None)
        environment: dict[str, str | None] = {name.upper(): None for name in variables}
        given = ["migrate", "views", "--env", "gamma", *words]
        return CliRunner().invoke(main, given, env=environment | self.environment())

    def query(self, statement: str | sql.Composable, *values: Any) -> list[tuple[Any, ...]]:
        return self.installation.query(statement, *values)

    def rows(self, schema: str, relation: str) -> list[str]:
        """The rows of a relation as text, in a fixed order."""
        statement = sql.SQL("select one::text from {} as one order by 1").format(
            sql.Identifier(schema, relation)
        )
        return [row for (row,) in self.query(statement)]

    def columns(self, schema: str, relation: str) -> list[tuple[Any, ...]]:
        return self.query(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = format('%%I.%%I', %s::text, %s::text)::regclass and attnum > 0"
            " order by attnum",
            schema,
            relation,
        )

    def catalog(self) -> list[tuple[Any, ...]]:
        """Everything that is there, and when it was last changed."""
        return self.query(CATALOG)

    def person(self, name: str, *, may: str = "select 1") -> str:
        """A role that logs in, and is dropped with the others; returns its name."""
        role = f"{self.installation.name}_{name}"
        self.query(f"create role {role} login password 'secret'; {may.format(role=role)}")
        return role

    def login(self, role: str) -> Connection:
        server = self.installation.server
        return psycopg2.connect(
            host=server.host, port=server.port, dbname=self.installation.name, user=role, password="secret"
        )

    def asked_by(self, role: str, *statements: str) -> list[tuple[Any, ...]]:
        """What a role is answered to the last one."""
        with closing(self.login(role)) as connection, connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def drop_people(self) -> None:
        roles = self.query("select rolname from pg_roles where rolname ~ %s", f"^{self.installation.name}_")
        ours = {
            f"{self.installation.name}_{part}"
            for part in ("authenticator", "anon", "ingest", "superset", "dbt")
        }
        for role in {name for (name,) in roles} - ours:
            self.query(f"drop owned by {role} cascade; drop role {role}")
