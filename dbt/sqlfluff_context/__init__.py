"""dbt's names for sqlfluff, so that it can render our models without a database: as an incremental run.

The package's own macros are rendered by dbt's rules: each sees all others, and `return` gives a value
of any type.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment

PACKAGE = Path(__file__).parents[1] / "packages" / "cht_pipeline"
MACRO = re.compile(r"{%-?\s*macro\s+(\w+).*?endmacro\s*-?%}", re.DOTALL)


class Relation(str):
    """A table; its text is what stands in the SQL."""

    @property
    def identifier(self) -> str:
        return self.rsplit(".", 1)[-1]


class Adapter:
    def quote(self, name: str) -> str:
        return f'"{name}"'


class Returned(Exception):
    """How a macro ends at `return`."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _return(value: Any) -> None:
    raise Returned(value)


def ref(name: str) -> Relation:
    return Relation(f"models.{name}")


def source(_name: str, table: str) -> Relation:
    return Relation(f"documents.{table}")


def var(name: str, default: Any = 0) -> Any:
    return {"person_types": ["person"]}.get(name, default)


class Config:
    """A call sets options of a model, which are no SQL."""

    def __call__(self, **_options: Any) -> str:
        return ""

    def get(self, _name: str, default: Any = None) -> Any:
        return default


def is_incremental() -> bool:
    return True


adapter = Adapter()
config = Config()
execute = False
this = Relation("models.this_model")
target = {"schema": "models", "database": "data"}
model = {"name": "this_model", "columns": {}, "config": {}}

environment = Environment(extensions=["jinja2.ext.do"])  # noqa: S701 (SQL, not HTML)
environment.globals.update(
    {name: value for name, value in globals().items() if not name.startswith("_")}, **{"return": _return}
)


def _macro(name: str, text: str) -> Callable[..., Any]:
    template = environment.from_string(text)

    def call(*values: Any, **named: Any) -> Any:
        try:
            return getattr(template.module, name)(*values, **named)
        except Returned as returned:
            return returned.value

    return call


for _file in sorted(PACKAGE.glob("macros/*.sql")):
    for _found in MACRO.finditer(_file.read_text()):
        environment.globals[_found[1]] = globals()[_found[1]] = _macro(_found[1], _found[0])
