"""The schema for users of couch2pg as the transformation sees it; `cht-sync migrate views` makes it."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

SCHEMA = "couch2pg"
MARK = "made by cht-sync migrate views"
"""The schema's comment: only one that has it is touched."""
REFRESH = sql.SQL("select {}()").format(sql.Identifier(SCHEMA, "refresh_matviews"))


def may_refresh(connection: Connection) -> bool:
    """Whether the schema is there, is ours, and lets this role refresh. Raises psycopg2.Error."""
    with connection.cursor() as cursor:
        # Names are not resolved: in a schema that this role may not use that would be an error.
        cursor.execute(
            """
            select exists (
              select from pg_namespace join pg_proc on pronamespace = pg_namespace.oid
              where nspname = %s and obj_description(pg_namespace.oid, 'pg_namespace') = %s
                and proname = 'refresh_matviews' and pronargs = 0
                and has_schema_privilege(pg_namespace.oid, 'usage')
                and has_function_privilege(pg_proc.oid, 'execute'))
            """,
            (SCHEMA, MARK),
        )
        return cursor.fetchone() == (True,)
