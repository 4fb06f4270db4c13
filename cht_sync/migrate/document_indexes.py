"""The indexes by which SQL written for couch2pg finds documents: `doc ->> '_id'` and `doc ->> 'type'`.

They are built while writers go on; of a partitioned table, where PostgreSQL cannot do that at once, one
partition after another. Ours have a comment, which also stays where postgres/partition-table.sql makes the
table anew; what a killed run has left is known by its name. All functions raise psycopg2.Error, and take a
connection in autocommit.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.migrate.relations import oid_of
from cht_sync.transform.couch2pg import MARK

FIELDS = {"_id": "id", "type": "type"}
"""And what stands for each in an index's name."""
CONCURRENTLY = "create index concurrently {} on {} ((doc ->> {}))"


def make(connection: Connection, tables: Collection[tuple[str, str]]) -> list[str]:
    """Build what is missing; return a line for each table that got something."""
    done = []
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 0")
        for schema, table in tables:
            oid = oid_of(cursor, schema, table)
            missing = [field for field in FIELDS if oid is not None and not _has(cursor, oid, field)]
            for field in missing:
                _make(cursor, (schema, table), oid, field)
            if missing:
                # Statistics of what is indexed; without them the planner takes every type for rare.
                cursor.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, table)))
                done.append(f"{table}: documents are indexed by {' and '.join(missing)}")
        cursor.execute("reset statement_timeout")
    return done


def drop(connection: Connection, schema: str) -> list[str]:
    """Drop those that are ours in `schema`; return a line for each table that had some."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select nspname, made.relname, made.relkind = 'I', documents.relname
            from pg_index join pg_class as made on made.oid = indexrelid
              join pg_class as documents on documents.oid = indrelid
              join pg_namespace on pg_namespace.oid = made.relnamespace
            where nspname in (%(schema)s, %(schema)s || '_partitions') and not made.relispartition
              and (obj_description(indexrelid, 'pg_class') = %(mark)s
                or made.relname = any(array(select format('couch2pg_%%s_%%s', field, documents.oid)
                  from unnest(%(fields)s) as field)))
            order by documents.relname
            """,
            {"schema": schema, "mark": MARK, "fields": list(FIELDS.values())},
        )
        found = cursor.fetchall()
        for place, name, partitioned, _table in found:
            how = sql.SQL("drop index {}" if partitioned else "drop index concurrently {}")
            cursor.execute(how.format(sql.Identifier(place, name)))
    tables = dict.fromkeys(table for _place, _name, _partitioned, table in found)
    return [f"{table}: its indexes of {' and '.join(FIELDS)} are dropped" for table in tables]


def _has(cursor: Cursor, table: int, field: str) -> bool:
    cursor.execute(
        """
        select exists (select from pg_index join pg_class on pg_class.oid = indexrelid
            join pg_am on pg_am.oid = relam
          where indrelid = %s and amname = 'btree' and indisvalid and indpred is null
            and pg_get_indexdef(indexrelid, 1, true) = format('(doc ->> %%L::text)', %s))
        """,
        (table, field),
    )
    return cursor.fetchone() == (True,)


def _make(cursor: Cursor, table: tuple[str, str], oid: int | None, field: str) -> None:
    """Make it, in the place of what a killed run has left under its name."""
    cursor.execute(
        "select nspname, relname, relid::oid::bigint from pg_partition_tree(%s::oid::regclass) join pg_class"
        " on pg_class.oid = relid join pg_namespace on pg_namespace.oid = relnamespace"
        " where isleaf and relid::oid <> %s order by relname",
        (oid, oid),
    )
    partitions = cursor.fetchall()
    index = sql.Identifier(table[0], _name(field, oid))
    cursor.execute(sql.SQL("drop index if exists {}").format(index))
    _build(
        cursor, "create index {} on only {} ((doc ->> {}))" if partitions else CONCURRENTLY, table, field, oid
    )
    cursor.execute(sql.SQL("comment on index {} is %s").format(index), (MARK,))
    for schema, partition, number in partitions:
        part = sql.Identifier(schema, _name(field, number))
        cursor.execute(sql.SQL("drop index if exists {}").format(part))
        _build(cursor, CONCURRENTLY, (schema, partition), field, number)
        cursor.execute(sql.SQL("alter index {} attach partition {}").format(index, part))


def _build(cursor: Cursor, statement: str, table: tuple[str, str], field: str, oid: int | None) -> None:
    name = sql.Identifier(_name(field, oid))
    cursor.execute(sql.SQL(statement).format(name, sql.Identifier(*table), sql.Literal(field)))


def _name(field: str, oid: int | None) -> str:
    """One that no other table's index has, however long its name is."""
    return f"couch2pg_{FIELDS[field]}_{oid}"
