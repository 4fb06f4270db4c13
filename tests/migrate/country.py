"""A CHT's databases, and what couch2pg, cht-sync 2 and cht-sync of 2023 would have made of them.

Their tables are those of their public sources: couch2pg's migrations, setup.js of cht-sync 2, and the first
init script of cht-sync. Their rows are what these programs store of a document and of a deletion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from click.testing import Result as CliResult
from psycopg2 import sql
from psycopg2.extras import execute_values
from reconcile.world import Place, World
from warehouse.served import Served

from migrate.couch2pg_schema import SCHEMA as COUCH2PG

CHT_SYNC_2 = """
    create schema {schema};
    create table {schema}.couchdb (saved_timestamp timestamp, _id varchar primary key, _deleted boolean,
      source varchar, doc jsonb);
    create index _deleted on {schema}.couchdb (_deleted);
    create index saved_timestamp on {schema}.couchdb (saved_timestamp);
    create index source on {schema}.couchdb (source);
    create table {schema}.couchdb_progress (seq varchar, pending integer, updated_at timestamptz,
      source varchar primary key);
"""
OF_2023 = """
    create table {} ("@version" text, "@timestamp" timestamp, _id text, _rev text, doc jsonb,
      doc_as_upsert boolean, unique (_id, _rev));
"""
OLD_SCHEMA = "old_v1"
SHAPES = ("couch2pg", "cht_sync_2", "cht_sync_2 without source", "of_2023")
Winners = Mapping[str, tuple[str, bool, Any]]


@dataclass
class Country:
    """Databases of one CouchDB: `worlds` are medic, medic-sentinel and medic-users-meta, so to say."""

    worlds: tuple[World, ...]
    known: Mapping[str, Winners] = field(default_factory=dict)
    """What CouchDB holds, of databases that nobody changes any more."""

    def winners(self, world: World) -> Winners:
        """What CouchDB holds of a database."""
        return self.known.get(world.database) or world.winners()

    def living(self, world: World) -> list[Any]:
        """The documents that are not deleted."""
        return [doc for _rev, deleted, doc in self.winners(world).values() if not deleted]

    def is_complete(self) -> bool:
        """Whether each database's rows are what CouchDB holds."""
        return all(world.rows() == self.winners(world) for world in self.worlds)

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(world.database for world in self.worlds)

    @property
    def medic(self) -> World:
        return self.worlds[0]

    @property
    def sentinel(self) -> World:
        return self.worlds[1]

    @property
    def users_meta(self) -> World:
        return self.worlds[2]

    def query(self, statement: Any, *values: Any) -> list[tuple[Any, ...]]:
        return self.medic.installation.query(statement, *values)

    def run(self, *words: str) -> CliResult:
        return self.medic.run("migrate", *words)

    def source(self, world: World, *, port: bool) -> str:
        """What the earlier programs call a database."""
        place = world.couch
        return f"{place.host}{f':{place.port}' if port else ''}/{world.database}"

    def with_settings(self, **changes: str) -> Country:
        return Country(
            tuple(replace(world, changes={**world.changes, **changes}) for world in self.worlds), self.known
        )

    # What the earlier programs make.

    def couch2pg(self, *, of: Sequence[World] | None = None) -> None:
        """Living documents in one table, those of users-meta in another; deletions leave nothing."""
        self._make(COUCH2PG)
        for world in of or self.worlds:
            name = "couchdb_users_meta" if world.database.endswith("-users-meta") else "couchdb"
            documents = self.living(world)
            rows = [(without_nul(json.dumps(doc)),) for doc in documents]
            # The last one of an id that several databases have stays.
            ids = [doc["_id"] for doc in documents]
            self.query(
                sql.SQL("delete from {} where doc ->> '_id' = any(%s)").format(sql.Identifier(name)), ids
            )
            self._insert(f"insert into {name} (doc) values %s", rows)
            self.query(
                "insert into couchdb_progress values (%s, %s)",
                sequence(world),
                self.source(world, port=True),
            )

    def cht_sync_2(self, *, with_source: bool = True) -> None:
        """All databases in one table, deletions as stubs; its first versions had no `source`."""
        self._make(CHT_SYNC_2.replace("{schema}", OLD_SCHEMA))
        for world in self.worlds:
            source = self.source(world, port=False)
            rows = [
                (
                    "2025-01-01",
                    one,
                    deleted,
                    source if with_source else None,
                    json.dumps({"_id": one, "_rev": rev, "_deleted": True} if deleted else doc),
                )
                for one, (rev, deleted, doc) in self.winners(world).items()
            ]
            self._insert(
                f"insert into {OLD_SCHEMA}.couchdb values %s on conflict (_id) do update set "
                "_deleted = excluded._deleted, source = excluded.source, doc = excluded.doc",
                rows,
            )
            self.query(
                f"insert into {OLD_SCHEMA}.couchdb_progress values (%s, 0, now(), %s)",
                sequence(world),
                source,
            )

    def of_2023(self) -> None:
        """A table for each database, with a row for each revision that was seen, also of what is deleted."""
        self.query(f"create schema {OLD_SCHEMA}")
        for world in self.worlds:
            table = sql.Identifier(OLD_SCHEMA, world.database)
            self.query(sql.SQL(OF_2023).format(table))
            rows: list[tuple[Any, ...]] = []
            for one, (rev, deleted, doc) in self.winners(world).items():
                earlier = {"_id": one, "_rev": "1-0", "old": True}
                rows.append(("1", "2023-01-01", one, "1-0", json.dumps(earlier), True))
                if not deleted:
                    rows.append(("1", "2023-06-01", one, rev, json.dumps(doc), True))
            rows.append(("1", "2023-06-01", "%{[doc][_id]}", "%{[doc][_rev]}", None, True))
            self._insert(sql.SQL("insert into {} values %s").format(table), rows)

    def was_read_by(self, shape: str) -> None:
        """Make what the program of one of SHAPES would have made."""
        match shape:
            case "couch2pg":
                self.couch2pg()
            case "cht_sync_2":
                self.cht_sync_2()
            case "cht_sync_2 without source":
                self.cht_sync_2(with_source=False)
            case _:
                self.of_2023()

    def versions(self) -> list[tuple[Any, ...]]:
        """Each row's version and stamp, and the positions: what a run that changes nothing leaves alone."""
        rows = [
            row
            for world in self.worlds
            for row in world.query("select _id, xmin::text, saved_timestamp from {} order by _id")
        ]
        return rows + self.query("select * from v1.couchdb_progress order by source")

    def _make(self, statements: str) -> None:
        self.query(statements)

    def _insert(self, statement: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        with self.medic.installation.connected() as connection, connection, connection.cursor() as cursor:
            execute_values(cursor, statement, rows, page_size=1000)

    def old_state(self) -> list[tuple[Any, ...]]:
        """All that the earlier programs' schemas hold, as a sum: it must never change."""
        tables = self.query("""
            select format('%I.%I', nspname, relname) from pg_class
              join pg_namespace as n on n.oid = relnamespace
            where relkind = 'r' and nspname in ('public', 'old_v1') order by 1
        """)
        sums = []
        for (name,) in tables:
            statement = (
                f"select count(*), sum(hashtextextended(one::text, 0)), max(xmin::text) from {name} as one"
            )
            sums.append((name, *self.query(statement)[0]))
        return sums


def country_of(served: Served, place: Place, name: str, home: Path) -> Country:
    """An installation for three databases."""
    databases = (name, f"{name}-sentinel", f"{name}-users-meta")
    served.installation.init(" ".join(databases))
    changes = {"COUCHDB_DBS": " ".join(databases)}
    return Country(tuple(World(place, served, one, home, changes) for one in databases))


def without_nul(text: str) -> str:
    """What the earlier programs make of a document that jsonb cannot hold."""
    return text.replace("\\u0000", "")


def sequence(world: World) -> str:
    """Where the feed ends."""
    return str(world.ask("GET", "/_changes", params={"limit": "0", "since": "now"})["last_seq"])
