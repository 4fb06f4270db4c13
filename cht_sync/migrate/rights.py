"""What an old table that may not be read lacks, and who must run what.

Raises psycopg2.Error.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError

_RIGHTS = """
    select pg_get_userbyid(relowner)::text,
      -- Nobody is a member of that role but who owns the database.
      pg_get_userbyid(case pg_get_userbyid(nspowner) when 'pg_database_owner' then datdba
        else nspowner end)::text,
      has_schema_privilege(n.oid, 'usage'), has_table_privilege(c.oid, 'select'),
      quote_ident(nspname), quote_ident(current_user)
    from pg_class as c join pg_namespace as n on n.oid = relnamespace
      join pg_database on datname = current_database()
    where nspname = %s and relname = %s
"""
_TEMPORARY = """
    select pg_get_userbyid(datdba)::text, quote_ident(datname), quote_ident(current_user),
      has_database_privilege(oid, 'temporary')
    from pg_database where datname = current_database()
"""


@dataclass(frozen=True)
class _Rights:
    owner: str
    schema_owner: str
    may_enter: bool
    may_select: bool
    schema: str
    user: str

    @property
    def grants(self) -> dict[str, list[str]]:
        """What is lacking, by who gives it."""
        found: dict[str, list[str]] = {}
        if not self.may_enter:
            usage = f"grant usage on schema {self.schema} to {self.user}"
            found.setdefault(self.schema_owner, []).append(usage)
        if not self.may_select:
            select = f"grant select on all tables in schema {self.schema} to {self.user}"
            found.setdefault(self.owner, []).append(select)
        return found


def unreadable(connection: Connection, schema: str, table: str) -> ChtSyncError:
    """The error that says whose an old table is, and what they must grant."""
    with connection.cursor() as cursor:
        cursor.execute(_RIGHTS, (schema, table))
        rights = _Rights(*cursor.fetchall()[0])
    whose = (
        f"{schema}.{table} belongs to {rights.owner}"
        if not rights.may_select
        else f"the schema {schema} belongs to {rights.schema_owner}"
    )
    what = "it" if not rights.may_select else f"{table} there"
    statements = (f"let {role} run: {'; '.join(ones)}" for role, ones in rights.grants.items())
    hint = "; and ".join(statements)
    return ChtSyncError(f"{whose}, and {rights.user} may not read {what}", hint=hint[:1].upper() + hint[1:])


def no_temporary_tables(connection: Connection) -> ChtSyncError | None:
    """The error that says that we may not make temporary tables, and who grants it; None where we may."""
    with connection.cursor() as cursor:
        cursor.execute(_TEMPORARY)
        ((owner, database, user, allowed),) = cursor.fetchall()
    if allowed:
        return None
    return ChtSyncError(
        f"{user} may not make temporary tables in the PostgreSQL database {database}",
        hint=f"Let {owner}, who owns it, run: grant temporary on database {database} to {user}",
    )
