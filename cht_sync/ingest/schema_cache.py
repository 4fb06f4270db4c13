"""What the server knows of the exposed schemas, read from PostgreSQL's catalog and kept fresh.

One connection listens for `NOTIFY pgrst, 'reload schema'`. While it cannot be had there is no
knowledge, and every request is refused at once (503 PGRST002) instead of waiting for a time-out.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.backoff import delays
from cht_sync.ingest.errors import ApiError, unavailable
from cht_sync.logs import fields

logger = logging.getLogger(__name__)

NO_SCHEMA = "PGRST002"
"""The code of the answer to every request while nothing is known."""
STOP_PATIENCE = 0.25
"""Seconds after which the waiting thread looks at its stop event."""
SIMILAR_ENOUGH = 0.75
"""How alike two table names are before one is suggested for the other, as in PostgREST."""

# An empty search_path makes format_type() name every type with its schema; the modifier -1 makes
# it say "bpchar" instead of "character", which would mean one character only.
_TABLES = """
SET search_path = '';
SELECT n.nspname, c.relname, c.relkind IN ('v', 'm'),
       c.relkind IN ('r', 'p')
         OR c.relkind IN ('v', 'f') AND pg_relation_is_updatable(c.oid::regclass, true) & 8 = 8,
       c.relkind = 'p',
       obj_description(c.oid, 'pg_class'),
       array_agg(a.attname::text ORDER BY a.attnum),
       array_agg(format_type(a.atttypid, -1) ORDER BY a.attnum),
       array_agg(CASE
         WHEN a.attidentity = 'd' THEN (
           SELECT format('nextval(%%L)', s.oid::regclass) FROM pg_depend o
             JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S'
            WHERE o.refobjid = c.oid AND o.refobjsubid = a.attnum AND o.deptype = 'i')
         WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END ORDER BY a.attnum),
       array_agg(NOT a.attnotnull ORDER BY a.attnum),
       array_agg(col_description(c.oid, a.attnum) ORDER BY a.attnum),
       coalesce((SELECT array_agg(k.attname::text ORDER BY array_position(i.indkey::int2[], k.attnum))
                   FROM pg_index i
                   JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = ANY (i.indkey::int2[])
                  WHERE i.indrelid = c.oid AND i.indisprimary), '{}')
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT c.relispartition
 GROUP BY n.nspname, c.oid, c.relname, c.relkind
"""

_TIMEZONES = "SELECT name FROM pg_timezone_names"

# SET ROLE does not apply what ALTER ROLE ... SET gave to the role; PostgREST applies it by hand.
_ROLE_SETTINGS = """
SELECT r.rolname, p.name, substr(s.setting, strpos(s.setting, '=') + 1)
  FROM pg_db_role_setting d
  JOIN pg_roles r ON r.oid = d.setrole AND pg_has_role(r.oid, 'MEMBER')
 CROSS JOIN unnest(d.setconfig) AS s (setting)
  JOIN pg_settings p ON p.name = split_part(s.setting, '=', 1) AND p.context = 'user'
 WHERE d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
 ORDER BY d.setdatabase
"""


@dataclass(frozen=True)
class Column:
    """A column's name, its type as SQL, and its default expression as SQL (None: none)."""

    name: str
    type: str
    default: str | None = None
    nullable: bool = True
    description: str | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """A table or view; `columns` in their order, `primary_key` in the key's order.

    Equal only to itself: a table of another reload may have changed, so what was derived from this
    one (cached SQL) is not used for that one.
    """

    schema: str
    name: str
    is_view: bool
    insertable: bool
    is_partitioned: bool
    description: str | None
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]

    def column(self, name: str) -> Column:
        """Raises ApiError PGRST204 for a column that was not there at the last reload."""
        try:
            return self.columns[name]
        except KeyError as error:
            raise ApiError(
                400, "PGRST204", f"Could not find the '{name}' column of '{self.name}' in the schema cache"
            ) from error


@dataclass(frozen=True)
class Snapshot:
    """The tables by (schema, name), the settings of each role that has any, and names of time zones."""

    tables: Mapping[tuple[str, str], Table]
    role_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    timezones: frozenset[str] = frozenset()

    def table(self, schema: str, name: str) -> Table:
        """Raises ApiError PGRST205 for a table that was not there at the last reload."""
        found = self.tables.get((schema, name))
        if found is not None:
            return found
        known = [table for of, table in self.tables if of == schema]
        nearest = max(known, key=lambda table: _similarity(name, table), default="")
        alike = _similarity(name, nearest) >= SIMILAR_ENOUGH
        raise ApiError(
            404,
            "PGRST205",
            f"Could not find the table '{schema}.{name}' in the schema cache",
            hint=f"Perhaps you meant the table '{schema}.{nearest}'" if alike else None,
        )


def _similarity(one: str, other: str) -> float:
    """1 for the same name but for case, less by the part of the letters that must be edited."""
    one, other = one.lower(), other.lower()
    shorter, longer = sorted((len(one), len(other)))
    if shorter < longer * SIMILAR_ENOUGH:
        return 0  # not alike enough in any case
    distances = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        diagonal, distances[0] = distances[0], row
        for column, another in enumerate(other, start=1):
            changed = diagonal + (letter != another)
            diagonal = distances[column]
            distances[column] = min(changed, diagonal + 1, distances[column - 1] + 1)
    return 1 - distances[-1] / max(longer, 1)


def load(connection: Connection, schemas: Sequence[str]) -> Snapshot:
    """Read the catalog; raises psycopg2.Error."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, (list(schemas),))
        found = cursor.fetchall()
        tables = {
            (schema, name): Table(
                schema,
                name,
                is_view,
                insertable,
                is_partitioned,
                description,
                {column: Column(column, *rest) for column, *rest in zip(*columns, strict=True)},
                tuple(key),
            )
            for schema, name, is_view, insertable, is_partitioned, description, *columns, key in found
        }
        cursor.execute(_ROLE_SETTINGS)
        role_settings: dict[str, dict[str, str]] = {}
        for role, name, value in cursor.fetchall():
            role_settings.setdefault(role, {})[name] = value
        cursor.execute(_TIMEZONES)
        timezones = frozenset(name for (name,) in cursor.fetchall())
    return Snapshot(tables, role_settings, timezones)


class SchemaCache:
    """Keeps one Snapshot; `follow` runs in a thread of its own, `current` is called by all."""

    def __init__(self, connect: Callable[[], Connection], schemas: Sequence[str], channel: str) -> None:
        self._connect = connect
        self._schemas = schemas
        self._channel = channel
        self._snapshot: Snapshot | None = None
        self._names: frozenset[str] = frozenset()
        self.loads = 0
        self.failed_loads = 0
        self._lost_at: float | None = None
        self._reason = ""

    @property
    def is_loaded(self) -> bool:
        return self._snapshot is not None

    def current(self) -> Snapshot:
        """Return the latest knowledge; raises ApiError 503 PGRST002 while there is none."""
        snapshot = self._snapshot
        if snapshot is None:
            raise unavailable(NO_SCHEMA, "Could not query the database for the schema cache. Retrying.")
        return snapshot

    def knows(self, name: str) -> bool:
        """Whether any exposed schema had such a table at the last reload, also while PostgreSQL is away."""
        return name in self._names

    def follow(self, stop: threading.Event) -> None:
        """Load and reload until `stop` is set; reconnect with back-off when PostgreSQL goes away."""
        waits = delays(first=0.1, most=2.0)
        while not stop.is_set():
            try:
                with closing(self._connect()) as connection:
                    self._listen(connection)
                    self._reload(connection)
                    waits = delays(first=0.1, most=2.0)
                    self._wait(connection, stop)
            except psycopg2.Error as error:
                self._lose(str(error).strip())
            self._snapshot = None
            stop.wait(next(waits))

    def _lose(self, reason: str) -> None:
        """Say why there is no connection, once for each reason."""
        self.failed_loads += 1
        if self._lost_at is None:
            self._lost_at = time.monotonic()
        if reason != self._reason:
            self._reason = reason
            logger.warning("no schema cache: %s", reason, extra=fields(event="postgres_lost", error=reason))

    def _listen(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))

    def _reload(self, connection: Connection) -> None:
        self._snapshot = load(connection, self._schemas)
        self._names = frozenset(name for _, name in self._snapshot.tables)
        self.loads += 1
        tables = len(self._snapshot.tables)
        if self._lost_at is not None:
            lasted = time.monotonic() - self._lost_at
            self._lost_at, self._reason = None, ""
            logger.warning(
                "PostgreSQL answers again after %.1f s; %d tables and views",
                lasted,
                tables,
                extra=fields(event="postgres_regained", duration_seconds=lasted, tables=tables),
            )
            return
        logger.info(
            "schema cache loaded: %d tables and views",
            tables,
            extra=fields(event="schema_loaded", tables=tables),
        )

    def _wait(self, connection: Connection, stop: threading.Event) -> None:
        """Reload at every notification; raises psycopg2.OperationalError when the connection ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            while not stop.is_set():
                # What came while the catalog was read is in the list already, and wakes nobody.
                if not connection.notifies and not selector.select(STOP_PATIENCE):
                    continue
                connection.poll()
                if connection.notifies:
                    connection.notifies.clear()
                    self._reload(connection)
