"""Packages that take documents in batches: whether there is more to take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.transform.results import RunOutcome

STAMP = "saved_timestamp"
"""The column by which such packages say how far they are."""


class Batches:
    """Told of each run, says whether the next one would find more.

    A model that took as many rows as it may in a run may have left some. Whether it gets on is seen from
    its newest stamp: the models of cht-pipeline ask for what is at least as new as their newest, so they
    take the last batch again and again, and tables that are made anew in each run are always full.
    """

    def __init__(self, schema: str, batch_size: int | None) -> None:
        self._schema = schema
        self._batch_size = batch_size
        self._reached: dict[str, datetime] = {}

    def more(self, connection: Connection, outcome: RunOutcome) -> bool:
        """Whether to run again, though no document changes; where it cannot be told, it does."""
        if self._batch_size is None:
            return False
        full = [
            node.name
            for node in outcome.nodes
            if node.kind == "model" and node.status == "success" and (node.rows or 0) >= self._batch_size
        ]
        before = self._reached
        try:
            self._reached = self._newest(connection, full)
        except psycopg2.Error:
            return bool(full)
        return any(before.get(model) != stamp for model, stamp in self._reached.items())

    def _newest(self, connection: Connection, models: Iterable[str]) -> dict[str, datetime]:
        """The newest stamp in each of the tables that has one. Raises psycopg2.Error."""
        found = {}
        with connection.cursor() as cursor:
            for model in models:
                table = sql.Identifier(self._schema, model)
                cursor.execute(
                    "select true from pg_attribute where attrelid = to_regclass(%s) and attname = %s",
                    (table.as_string(cursor), STAMP),
                )
                if cursor.fetchone() is None:
                    continue
                cursor.execute(sql.SQL("select max({}) from {}").format(sql.Identifier(STAMP), table))
                row = cursor.fetchone()
                if row is not None and row[0] is not None:
                    found[model] = row[0]
        return found
