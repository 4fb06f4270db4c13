"""Whose SQL runs where a view is computed, and whether that may be with our rights.

A view's functions run with the rights of who reads it, or of who owns the materialised view: what a stranger
has written would be executed as POSTGRES_USER. What runs are the view itself, the views that it reads, and
the functions of both and of its indexes, as far as PostgreSQL records it: what the text of a function calls
is not recorded. Tables and materialised views that are read are stored rows: a table with policies that would
hide rows from us, and call functions, is not read at all (`row_security` is off).

All functions raise psycopg2.Error.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass, replace

from psycopg2.extensions import cursor as Cursor

_RUN = """
    with recursive used(class, id) as (
      select 'pg_class'::regclass::oid, %(oid)s::oid
      union
      select refclassid, refobjid
      from used
        cross join lateral (
          select 'pg_rewrite'::regclass::oid, pg_rewrite.oid
          from pg_rewrite join pg_class on pg_class.oid = ev_class
          where used.class = 'pg_class'::regclass and ev_class = used.id
            and (relkind = 'v' or ev_class = %(oid)s)
          union all
          select 'pg_class'::regclass::oid, indexrelid from pg_index
          where used.class = 'pg_class'::regclass and indrelid = used.id and indrelid = %(oid)s
          union all
          select used.class, used.id
          where used.class in ('pg_proc'::regclass::oid, 'pg_operator'::regclass::oid)
        ) as user_of(class, id)
        join pg_depend on classid = user_of.class and objid = user_of.id
    )
    select distinct pg_get_userbyid(owner)::text, id = %(oid)s, format('%%s %%s', type, identity)
    from used
      join (
        select 'pg_class'::regclass::oid, oid, relowner from pg_class where relkind = 'v' or oid = %(oid)s
        union all select 'pg_proc'::regclass::oid, oid, proowner from pg_proc
        union all select 'pg_operator'::regclass::oid, oid, oprowner from pg_operator
        union all select 'pg_type'::regclass::oid, oid, typowner from pg_type where typtype = 'd'
      ) as owned(class, id, owner) using (class, id)
      cross join lateral pg_identify_object(class, id, 0)
    order by 2 desc, 3
"""


@dataclass(frozen=True)
class Foreign:
    """SQL of a role that is not trusted. `what` is the view itself (`itself`), or what it uses."""

    role: str
    itself: bool
    what: str

    def __str__(self) -> str:
        return f"it belongs to {self.role}" if self.itself else f"it uses {self.what} of {self.role}"


@dataclass(frozen=True)
class Trust:
    """The roles whose SQL may run with our rights."""

    roles: frozenset[str]

    def also(self, roles: Collection[str]) -> Trust:
        """With these, too."""
        return replace(self, roles=self.roles | {*roles})

    def foreign(self, cursor: Cursor, oid: int) -> list[Foreign]:
        """What of others would run where this view is computed."""
        cursor.execute(_RUN, {"oid": oid})
        return [Foreign(*row) for row in cursor.fetchall() if row[0] not in self.roles]


def options(foreign: Collection[Foreign]) -> str:
    """The options of `migrate views` with which the operator says that these roles are trusted."""
    return " ".join(f"--trust {shlex.quote(role)}" for role in sorted({one.role for one in foreign}))


def trust(cursor: Cursor, owners: Collection[str]) -> Trust:
    """Trust ourselves, superusers, and who owns all the old tables; `owners` are those of each of them.

    An owner of some is not trusted: anybody who may create tables can add one. Nor is a role of which we are
    a member: a superuser is one of all, and others of each that they have made.
    """
    cursor.execute("select rolname from pg_roles where rolsuper or rolname = current_user")
    ours = {role for (role,) in cursor.fetchall()}
    return Trust(frozenset(ours | {*owners} if len({*owners}) == 1 else ours))
