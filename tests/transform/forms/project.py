"""A copy of our package that tests add forms to, and what they ask of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg2 import sql

from cht_sync.transform.package import Package
from cht_sync.transform.runner import DbtRunner

from ..warehouse import OWN_PACKAGE, Warehouse, run

OF_FORMS = ("rejected_values", "document_metadata", "data_record")
"""What forms need of the other models."""


@dataclass
class Project:
    """A warehouse, and a package with the models of `OF_FORMS` and the forms that the test has added."""

    warehouse: Warehouse
    folder: Path

    @property
    def forms(self) -> Path:
        return self.folder / "models" / "forms"

    def form(self, model: str, columns: str, form: str | None = None) -> None:
        """Add a form by hand; `columns` are lines of YAML."""
        lines = ["models:", f"  - name: {model}"]
        if form is not None:
            lines.append(f"    config: {{meta: {{form: {form}}}}}")
        lines.append("    columns:")
        lines += [f"      - {line}" for line in columns.strip().splitlines()]
        (self.forms / f"{model}.yml").write_text("\n".join(lines) + "\n")
        (self.forms / f"{model}.sql").write_text("{{ form() }}\n")

    def dbt(self) -> DbtRunner:
        """A warm dbt for the package as it is now."""
        return DbtRunner(self.warehouse.options, Package(self.folder, "own", None))

    def run(self) -> None:
        run(self.dbt())

    def rejected(self, model: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of rejected_values, as (uuid, model, column, value)."""
        return self.query(
            """
            select uuid, model, column_name, value from {schema}.rejected_values
            where model = coalesce(%s, model) order by 1, 2, 3, 4
            """,
            model,
        )

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.warehouse.connection as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL(text).format(schema=sql.Identifier(self.warehouse.options.schema)), values)
            return cursor.fetchall()


def project_of(warehouse: Warehouse, folder: Path, *, others: bool = False) -> Project:
    """Copy our package without its forms; with `others`, all other models are kept."""
    package = Path(shutil.copytree(OWN_PACKAGE, folder / "cht_pipeline"))
    for file in (package / "models").rglob("*.sql"):
        if file.parent.name == "forms" or not (others or file.stem in OF_FORMS):
            file.unlink()
    for file in (package / "models").rglob("*.yml"):
        if file.parent.name in ("forms", "contacts", "users", "sentinel", "settings") and not others:
            file.unlink()
    return Project(warehouse, package)


def report(form: str, fields: Any, **members: Any) -> dict[str, Any]:
    return {"type": "data_record", "form": form, "fields": fields, **members}
