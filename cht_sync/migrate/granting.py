"""Who may read the schema `couch2pg`: dbt's role, and those whom the operator has named.

A role that was named once also reads what is made later, and nothing that was taken from it: what it has been
given is in the table `cht_sync_readers`. Roles with rights that somebody gave by hand keep just these. All
functions raise psycopg2.Error.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.migrate.making import Report
from cht_sync.migrate.relations import oid_of
from cht_sync.transform.couch2pg import SCHEMA

READERS = "cht_sync_readers"
"""The table of the roles that were named: `granted` are the views that each was given."""
_TABLE = sql.Identifier(SCHEMA, READERS)
_VIEWS = """
    select relname::text, has_table_privilege(%(role)s, oid, 'select') from pg_class
    where relnamespace = %(schema)s::regnamespace and relkind in ('v', 'm') order by 1
"""
_LACKS = """
    select not has_schema_privilege(%(role)s, %(schema)s, 'usage'),
      not has_function_privilege(%(role)s, %(refresh)s, 'execute')
"""


def allow(cursor: Cursor, always: str, named: Collection[str], new: Collection[str], report: Report) -> None:
    """Let roles read and refresh.

    `always` (dbt's) and `named` may read everything, who was named before may read what is `new` (views that
    were not there before), or was not there when it was last given something.
    """
    _make_table(cursor)
    given = _given(cursor)
    for role in sorted({always, *named, *given}):
        before = None if role in {always, *named} else {*given[role]} - {*new}
        _allow(cursor, role, before, report)
    for role in sorted({*named, *given}):
        cursor.execute(
            sql.SQL("""
                insert into {} (role, granted) select %s, array(select relname::text from pg_class
                  where relnamespace = %s::regnamespace and relkind in ('v', 'm') order by 1)
                on conflict (role) do update set granted = excluded.granted
            """).format(_TABLE),
            (role, SCHEMA),
        )


def _make_table(cursor: Cursor) -> None:
    if oid_of(cursor, SCHEMA, READERS) is None:
        cursor.execute(
            sql.SQL("create table {} (role text primary key, granted text[] not null)").format(_TABLE)
        )
        cursor.execute(
            sql.SQL("comment on table {} is %s").format(_TABLE),
            ("Roles that cht-sync migrate views lets read; granted: the views that it has given.",),
        )


def _given(cursor: Cursor) -> dict[str, list[str]]:
    """What each role was given; who is gone, or was shut out of the schema, is forgotten."""
    cursor.execute(
        sql.SQL("""
            delete from {} where not coalesce((select has_schema_privilege(oid, %s, 'usage')
              from pg_roles where rolname = role), false)
        """).format(_TABLE),
        (SCHEMA,),
    )
    cursor.execute(sql.SQL("select role, granted from {}").format(_TABLE))
    return dict(cursor.fetchall())


def _allow(cursor: Cursor, role: str, before: Collection[str] | None, report: Report) -> None:
    """Grant what is lacking. With `before` only views that are not among these, and nothing else."""
    names = {"role": role, "schema": SCHEMA, "refresh": f"{SCHEMA}.refresh_matviews()"}
    cursor.execute(_VIEWS, names)
    lacking = [name for name, may_read in cursor.fetchall() if not may_read and name not in (before or ())]
    wanted = [sql.SQL("select on {}").format(sql.Identifier(SCHEMA, name)) for name in lacking]
    said = [*lacking]
    cursor.execute(_LACKS, names)
    ((lacks_usage, lacks_refresh),) = cursor.fetchall()
    if lacks_usage and before is None:
        wanted.append(sql.SQL("usage on schema {}").format(sql.Identifier(SCHEMA)))
    if lacks_refresh and before is None:
        wanted.append(sql.SQL("execute on function {}()").format(sql.Identifier(SCHEMA, "refresh_matviews")))
        said.append("refresh_matviews()")
    for one in wanted:
        cursor.execute(sql.SQL("grant {} to {}").format(one, sql.Identifier(role)))
    if lacks_usage and wanted:
        report.done.append(f"{role}: may read and refresh them")
    elif said:
        report.done.append(f"{role}: may use {', '.join(said)}, too")
