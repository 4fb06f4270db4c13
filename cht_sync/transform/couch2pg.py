"""The schema for users of couch2pg as the transformation sees it; `cht-sync migrate views` makes it."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

SCHEMA = "couch2pg"
MARK = "made by cht-sync migrate views"
"""The schema's comment: only one that has it is touched."""
REFRESH = sql.SQL("select {}()").format(sql.Identifier(SCHEMA, "refresh_matviews"))


def may_refresh(connection: Connection, raw_schema: str) -> bool:
    """Whether the schema is there, is ours, and lets this role refresh. Raises psycopg2.Error.

    Ours: it and the function belong to who owns cht-sync's own tables in `raw_schema`, or to a superuser. A
    comment can be written by anybody who may make a schema, and so can a function, which would run as we.
    """
    with connection.cursor() as cursor:
        # Names are not resolved: in a schema that this role may not use that would be an error.
        cursor.execute(
            """
            select exists (
              select from pg_namespace join pg_proc on pronamespace = pg_namespace.oid
              where nspname = %s and obj_description(pg_namespace.oid, 'pg_namespace') = %s
                and proname = 'refresh_matviews' and pronargs = 0
                and not exists (
                  select from unnest(array[nspowner, proowner]) as owner
                  where owner not in (
                    select oid from pg_roles where rolsuper
                    union select relowner from pg_class
                      join pg_namespace as raw on raw.oid = relnamespace
                      where raw.nspname = %s and relname = 'cht_sync_state'))
                and has_schema_privilege(pg_namespace.oid, 'usage')
                and has_function_privilege(pg_proc.oid, 'execute'))
            """,
            (SCHEMA, MARK, raw_schema),
        )
        return cursor.fetchone() == (True,)
