"""A package that a test writes, and the runs of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cht_sync.transform.package import PackageStore
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

from .warehouse import Warehouse

ROWS = 500
PROJECT = """
name: small
version: 1.0.0
config-version: 2
profile: default
model-paths: [models]
"""
NUMBERS = "select n, 'some text' as said from generate_series(1, {{ var('numbers', 500) }}) as n"
INCREMENTAL = (
    "{{ config(materialized='incremental', indexes=[{'columns': ['n']}]) }}"
    + NUMBERS
    + ("{% if is_incremental() %} where false {% endif %}")
)


@dataclass
class WrittenPackage:
    """Models in a folder; each run is one of a new process: it knows what is on disk and in PostgreSQL."""

    warehouse: Warehouse
    folder: Path

    def write(self, **models: str) -> None:
        for name, text in models.items():
            (self.folder / "models" / f"{name}.sql").write_text(text)

    def runner(self, **changed: Any) -> DbtRunner:
        options = replace(self.warehouse.options, url=str(self.folder), **changed)
        return DbtRunner(options, PackageStore(options).current())

    def run(self, **changed: Any) -> RunOutcome:
        return self.runner(**changed).run()

    def succeeds(self, **changed: Any) -> RunOutcome:
        outcome = self.run(**changed)
        assert outcome.succeeded, outcome.failures
        return outcome

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connection as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else []
