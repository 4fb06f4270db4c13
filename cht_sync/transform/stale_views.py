"""Views that read the rows of a table as it was before its model lost a column that they need.

The package's macros (`dbt/packages/cht_sync`) keep such a table as `<model>__dbt_old_<number>`.
"""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

_QUERY = """
    select kept.oid::regclass::text,
      string_agg(distinct coalesce(pg_rewrite.ev_class::regclass::text,
        pg_describe_object(pg_depend.classid, pg_depend.objid, 0)), ', ')
    from pg_class as kept
    join pg_depend on pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = kept.oid
      and pg_depend.deptype = 'n'
    left join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
    where kept.relname ~ '__dbt_old_[0-9]+$' and kept.relkind in ('r', 'v')
      and pg_has_role(kept.relowner, 'usage')
    group by kept.oid
    order by 1
"""


def stale_views(connection: Connection) -> list[str]:
    """Return a sentence for each old table that something still reads. Raises psycopg2.Error."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_QUERY)
        return [
            f"dbt: {readers} reads old rows, of {kept}: drop it, and make it again"
            for kept, readers in cursor.fetchall()
        ]
