"""Which models must be built anew, because they or what they read changed since their tables were made.

An incremental model's table holds what earlier versions of the model wrote. What made it is known from
the table `dbt_state`, beside the models: the manifest of the package that ran last, and the models that
still have to be built anew. It lives in the database, so that it fits the tables there also after a
backup was restored. A model leaves the list when it has been built; whoever fails or is killed before
that finds it there again.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from cht_sync.errors import ChtSyncError
from cht_sync.transform.package.prepare import MACROS

TABLE = "dbt_state"
ALWAYS_NEW = frozenset({"view", "table", "ephemeral"})
"""Materializations that every run makes from nothing."""
NOT_THE_PACKAGES = frozenset({"dbt", "dbt_postgres", MACROS})
"""Packages of macros that come with a release of dbt or of cht-sync; they change no model's meaning."""
HOW_MUCH = frozenset({"batch_size"})
"""Variables that say how much a run takes, not what a model is."""

Select = Callable[[Path], Collection[str]]
"""Takes the folder of an earlier manifest; returns the unique ids of dbt's `state:modified+`."""

Stamp = tuple[datetime, str] | None

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What made the tables: a manifest as dbt writes it, variables, and the models still to build anew."""

    manifest: Mapping[str, Any]
    variables: Mapping[str, Any]
    pending: frozenset[str]


def find_changed(connection: Connection, schema: str, now: State, select: Select) -> frozenset[str]:
    """Compare what made the tables with `now`, remember `now`, and return the models to be built anew.

    Where nothing is known of how the tables were made, every incremental model that has one is to be
    built anew: rows of another version would stay for good. Raises psycopg2.Error.
    """
    before = _load(connection, schema)
    incremental = {uid: node for uid, node in _models(now.manifest) if _accumulates(node)}
    built = _with_tables(connection, incremental)
    if before is None:
        changed = built
        if built:
            log.info("nothing is known of how these tables were made, they are built anew: %s", _names(built))
    else:
        changed = (_modified(before, now, select) & built) | (before.pending & incremental.keys())
        _say_what_is_gone(before.manifest, now.manifest)
    kept = {uid for uid in changed if incremental[uid]["config"].get("full_refresh") is False}
    if kept:
        log.warning("changed, but full_refresh is false: old rows stay in %s", _names(kept))
    pending = frozenset(changed - kept)
    _save(connection, schema, State(now.manifest, now.variables, pending))
    return pending


def stamp(connection: Connection, schema: str) -> Stamp:
    """Return what is other once somebody else has recorded a state, or a backup was restored.

    One look at a row, without its manifest; None where nothing is recorded. Raises psycopg2.Error.
    """
    table = sql.Identifier(schema, TABLE)
    with connection, connection.cursor() as cursor:
        if not _is_there(cursor, table):
            return None
        cursor.execute(sql.SQL("select recorded_at, pending::text from {}").format(table))
        row: Stamp = cursor.fetchone()
    return row


def built_anew(connection: Connection, schema: str, models: Iterable[str]) -> None:
    """Take models off the list. Raises psycopg2.Error."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("update {} set pending = pending - %s::text[]").format(sql.Identifier(schema, TABLE)),
            (list(models),),
        )


def variables_of(project: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a project, by name, as they are in its dbt_project.yml and as they were given."""
    found: dict[str, Any] = {}
    for name, value in (project.get("vars") or {}).items():
        found[name] = value
        if isinstance(value, Mapping):  # those of one package
            found.update(value)
    return {name: value for name, value in {**found, **given}.items() if name not in HOW_MUCH}


def _modified(before: State, now: State, select: Select) -> frozenset[str]:
    """What dbt takes for modified, but for noise, and what reads a variable that has another value."""
    macros = {
        **{uid: macro for uid, macro in before.manifest["macros"].items() if not _is_noise(macro)},
        **{uid: macro for uid, macro in now.manifest["macros"].items() if _is_noise(macro)},
    }
    nodes = dict(before.manifest["nodes"])
    names = before.variables.keys() | now.variables.keys()
    others = [name for name in names if before.variables.get(name) != now.variables.get(name)]
    if others:
        reads = re.compile(rf"\bvar\(\s*['\"](?:{'|'.join(map(re.escape, others))})['\"]")
        for uid, macro in macros.items():
            if reads.search(macro["macro_sql"]):
                macros[uid] = {**macro, "macro_sql": f"{macro['macro_sql']}\n"}
        for uid, node in nodes.items():
            if reads.search(node.get("raw_code") or ""):
                nodes[uid] = {**node, "raw_code": f"{node['raw_code']}\n"}
    with tempfile.TemporaryDirectory(prefix="cht-sync-state-") as folder:
        Path(folder, "manifest.json").write_text(
            json.dumps({**before.manifest, "macros": macros, "nodes": nodes})
        )
        try:
            return frozenset(select(Path(folder)))
        except ChtSyncError as error:
            log.warning("what changed cannot be told, all models are built anew: %s", error)
            return frozenset(uid for uid, _ in _models(now.manifest))


def _is_noise(macro: Mapping[str, Any]) -> bool:
    return macro["package_name"] in NOT_THE_PACKAGES


def _models(manifest: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return ((uid, node) for uid, node in manifest["nodes"].items() if node["resource_type"] == "model")


def _accumulates(node: Mapping[str, Any]) -> bool:
    return node["config"]["materialized"] not in ALWAYS_NEW


def _with_tables(connection: Connection, nodes: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select nspname, relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
            " where nspname = any(%s)",
            (list({node["schema"] for node in nodes.values()}),),
        )
        there = set(cursor.fetchall())
    return frozenset(uid for uid, node in nodes.items() if (node["schema"], node["alias"]) in there)


def _say_what_is_gone(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    def relations(manifest: Mapping[str, Any]) -> set[str]:
        return {
            f"{node['schema']}.{node['alias']}"
            for _, node in _models(manifest)
            if node["config"]["materialized"] != "ephemeral"
        }

    gone = relations(before) - relations(now)
    if gone:
        log.info("no longer in the package, but left as they are: %s", ", ".join(sorted(gone)))


def _names(models: Collection[str]) -> str:
    return ", ".join(sorted(uid.rpartition(".")[2] for uid in models))


def _is_there(cursor: Cursor, table: sql.Identifier) -> bool:
    # Asked first: a query of a missing table would be an error in the server's log.
    cursor.execute("select to_regclass(%s) is not null", (table.as_string(cursor),))
    return cursor.fetchone() == (True,)


def _load(connection: Connection, schema: str) -> State | None:
    table = sql.Identifier(schema, TABLE)
    with connection, connection.cursor() as cursor:
        if not _is_there(cursor, table):
            return None
        cursor.execute(sql.SQL("select manifest, variables, pending from {}").format(table))
        row = cursor.fetchone()
    if row is None:
        return None
    manifest, variables, pending = row
    return State(json.loads(zlib.decompress(bytes(manifest))), variables, frozenset(pending))


def _save(connection: Connection, schema: str, state: State) -> None:
    table = sql.Identifier(schema, TABLE)
    with connection, connection.cursor() as cursor:
        if not _is_there(cursor, table):
            cursor.execute(
                sql.SQL("""create table if not exists {} (
                    only_row boolean primary key default true check (only_row),
                    manifest bytea not null,
                    variables jsonb not null,
                    pending jsonb not null,
                    recorded_at timestamptz not null default now()
                )""").format(table)
            )
        cursor.execute(
            sql.SQL("""
                insert into {} (manifest, variables, pending) values (%s, %s, %s)
                on conflict (only_row) do update set (manifest, variables, pending, recorded_at)
                  = (excluded.manifest, excluded.variables, excluded.pending, excluded.recorded_at)
            """).format(table),
            (
                zlib.compress(json.dumps(state.manifest).encode()),
                Json(state.variables),
                Json(sorted(state.pending)),
            ),
        )
