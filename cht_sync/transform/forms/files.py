"""A proposal as the two files of a model.

Keys of documents and forms' codes go into them as data only: YAML reads each as one scalar, and what dbt
would take for Jinja is written as a Jinja literal, which gives the same text again.
"""

from __future__ import annotations

import json
import re

from cht_sync.transform.forms.names import FIXED_COLUMNS
from cht_sync.transform.forms.proposal import Column, Proposal

SQL = "{{ form() }}\n"

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def yaml_text(model: str, proposal: Proposal) -> str:
    """Return the property file. It holds no value of any report."""
    lines = [
        "version: 2",
        "",
        "models:",
        f"  - name: {_scalar(model)}",
        f"    description: {_scalar(f'Reports of the form {proposal.form}.')}",
    ]
    if proposal.form != model:
        lines += ["    config:", "      meta:", f"        form: {_scalar(proposal.form)}"]
    lines.append("    columns:")
    lines += [
        f"""      - {{name: {name}, description: "{{{{ doc('form_{name}') }}}}"}}""" for name in FIXED_COLUMNS
    ]
    for column in proposal.columns:
        lines += _column(column)
    return "\n".join(lines) + "\n"


def _column(column: Column) -> list[str]:
    lines = [f"      - name: {_scalar(column.name)}", f"        data_type: {column.data_type}"]
    if column.path != ("fields", column.name):
        lines.append(f"        config: {{meta: {{path: {_path(column.path)}}}}}")
    group = ".".join(column.path[1:-1])
    where = f"The field {column.path[-1]} of the group {group}" if group else f"The field {column.path[-1]}"
    note = f", {column.note}" if column.data_type == "jsonb" and column.note else ""
    lines.append(f"        description: {_scalar(f'{where}{note}.')}")
    return lines


def _path(path: tuple[str, ...]) -> str:
    if all(_PLAIN.fullmatch(key) for key in path):
        return ".".join(path)
    return "[" + ", ".join(_scalar(key) for key in path) + "]"


def _scalar(text: str) -> str:
    """A text for YAML that dbt reads as that text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    if all(one.isprintable() and one not in "{}" for one in text):
        return json.dumps(text, ensure_ascii=False)
    return json.dumps("{{ " + _jinja_literal(text) + " }}", ensure_ascii=False)


def _jinja_literal(text: str) -> str:
    return '"' + "".join(_jinja_character(one) for one in text) + '"'


def _jinja_character(one: str) -> str:
    if one.isprintable() and one not in '{}%#"\\':
        return one
    return f"\\U{ord(one):08x}"
