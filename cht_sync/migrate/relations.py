"""Views and materialised views as they are: what reads what, how to make one again, and taking one down.

All functions raise psycopg2.Error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

KINDS = {"v": "view", "m": "materialized view"}

_READERS = """
    with recursive reading(oid, level) as (
      select oid, 0 from unnest(%s::oid[]) as oid
      union
      select ev_class, level + 1 from reading
        join pg_depend on refclassid = 'pg_class'::regclass and refobjid = reading.oid
          and classid = 'pg_rewrite'::regclass
        join pg_rewrite on pg_rewrite.oid = objid and ev_class <> reading.oid
    )
    select reading.oid::bigint, nspname, relname, relkind::text from reading join pg_class using (oid)
      join pg_namespace on pg_namespace.oid = relnamespace
    group by reading.oid, nspname, relname, relkind having max(level) > 0
    order by max(level), relname
"""
_READ = """
    select distinct refobjid::bigint from pg_rewrite join pg_depend on objid = pg_rewrite.oid
    where ev_class = %s and classid = 'pg_rewrite'::regclass and refclassid = 'pg_class'::regclass
"""
_READ_AT_ALL = """
    with recursive reading(oid) as (
      select %s::oid
      union
      select refobjid from reading
        join pg_rewrite on ev_class = reading.oid
        join pg_depend on classid = 'pg_rewrite'::regclass and objid = pg_rewrite.oid
          and refclassid = 'pg_class'::regclass
    )
    select pg_class.oid::bigint, nspname, relname, relkind::text from reading join pg_class using (oid)
      join pg_namespace on pg_namespace.oid = relnamespace
    where relkind not in ('v', 'm')
"""
_MADE = """
    select relname, pg_get_userbyid(relowner),
      format('create %%s %%I %%s as %%s %%s', kind,
        relname, 'with (' || array_to_string(reloptions, ', ') || ')', query,
        case when relkind = 'm' and not relispopulated then 'with no data' end),
      query,
      array(select pg_get_indexdef(indexrelid, 0, true) from pg_index
        where indrelid = pg_class.oid order by 1),
      array(select format('comment on %%s %%s is %%L', case when objsubid > 0 then 'column' else kind end,
            concat_ws('.', quote_ident(relname), quote_ident(attname)), description)
          from pg_description
            left join pg_attribute on attrelid = objoid and attnum = objsubid and objsubid > 0
          where objoid = pg_class.oid and classoid = 'pg_class'::regclass order by 1),
      array(select format('grant select %%s on %%I to %%s %%s', '(' || quote_ident(attname) || ')',
            relname, coalesce(quote_ident(rolname), 'public'),
            case when is_grantable then 'with grant option' end)
          from (select null, relacl
              union all select attname, attacl from pg_attribute where attrelid = pg_class.oid)
            as rights(attname, acl), aclexplode(acl) left join pg_roles on pg_roles.oid = grantee
          where grantee <> relowner and privilege_type = 'SELECT' order by 1),
      exists (select from pg_trigger where tgrelid = pg_class.oid)
        or exists (select from pg_rewrite where ev_class = pg_class.oid and rulename <> '_RETURN')
    from pg_class, lateral (select case relkind when 'm' then 'materialized view' else 'view' end,
        rtrim(pg_get_viewdef(pg_class.oid), ';')) as _(kind, query)
    where pg_class.oid = %s
"""


@dataclass(frozen=True)
class Found:
    """A relation that reads others, or is read. `kind` is pg_class.relkind."""

    oid: int
    schema: str
    name: str
    kind: str


@dataclass(frozen=True)
class Made:
    """How to make a view again in the first schema of the search path.

    `create`, `indexes`, `comments` and `rights` are statements, `query` is what it selects. `acts` says that
    it has triggers or rules, which are not among them. `rights` are those to read.
    """

    name: str
    owner: str
    create: str
    query: str
    indexes: tuple[str, ...]
    comments: tuple[str, ...]
    rights: tuple[str, ...]
    acts: bool

    @property
    def made_of(self) -> str:
        """What is other once its query, options or indexes are."""
        return hashlib.sha256(repr((self.create, self.indexes)).encode()).hexdigest()


def search_path(cursor: Cursor, *schemas: str) -> None:
    """Look names up in these schemas to the end of the transaction, and make things in the first one."""
    path = sql.SQL(", ").join(map(sql.Identifier, schemas))
    cursor.execute(sql.SQL("set local search_path = {}").format(path))


def readers(cursor: Cursor, oids: Collection[int]) -> list[Found]:
    """What reads these relations, directly or not, each after what it reads."""
    cursor.execute(_READERS, (list(oids),))
    return [Found(*row) for row in cursor.fetchall()]


def reads(cursor: Cursor, oid: int) -> set[int]:
    """The relations that a view names, and itself."""
    cursor.execute(_READ, (oid,))
    return {one for (one,) in cursor.fetchall()}


def tables_read(cursor: Cursor, oid: int) -> list[Found]:
    """The relations whose rows a view shows, itself or by other views; of what is no view itself."""
    cursor.execute(_READ_AT_ALL, (oid,))
    return [Found(*row) for row in cursor.fetchall()]


def oid_of(cursor: Cursor, schema: str, name: str) -> int | None:
    """The number of a relation; None where there is none."""
    cursor.execute(
        "select pg_class.oid::bigint from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
        " where nspname = %s and relname = %s",
        (schema, name),
    )
    row = cursor.fetchone()
    return row[0] if row else None


def made(cursor: Cursor, oid: int, *, path: Sequence[str]) -> Made:
    """How to make a view again. Names in `path` are not given their schema, so that they can mean others."""
    search_path(cursor, *path)
    cursor.execute(_MADE, (oid,))
    ((name, owner, create, query, indexes, comments, rights, acts),) = cursor.fetchall()
    return Made(name, owner, create, query, tuple(indexes), tuple(comments), tuple(rights), acts)


def columns(cursor: Cursor, oid: int) -> list[tuple[str, str]]:
    """Names and types, in their order."""
    cursor.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s and attnum > 0 and not attisdropped order by attnum",
        (oid,),
    )
    return cursor.fetchall()


def drop(cursor: Cursor, found: Found) -> None:
    """Nothing that reads it goes with it: that is an error."""
    statement = sql.SQL("drop {} {}").format(
        sql.SQL(KINDS[found.kind]), sql.Identifier(found.schema, found.name)
    )
    cursor.execute(statement)


@contextmanager
def attempt(cursor: Cursor) -> Iterator[None]:
    """Undo what was done within the block where it fails with an error, which is raised then."""
    cursor.execute("savepoint attempt")
    try:
        yield
    except BaseException as error:
        if not cursor.connection.closed and not isinstance(error, KeyboardInterrupt):
            cursor.execute("rollback to savepoint attempt; release savepoint attempt")
        raise
    cursor.execute("release savepoint attempt")


def said(error: psycopg2.Error) -> str:
    """What PostgreSQL said, in one line."""
    return error.diag.message_primary or (str(error).strip() or type(error).__name__).splitlines()[0]
