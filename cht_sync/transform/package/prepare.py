"""Making a copy of a package ready to be run: dependencies, our way to replace tables, and a look at it.

Only the copy is changed. Our macros come in as dbt provides for it: a package beside the dependencies,
and `dispatch`, which tells dbt to look there first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cht_sync.errors import ChtSyncError
from cht_sync.settings import CHECKOUT, declared
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package.dbt_process import run_dbt
from cht_sync.transform.package.dependencies import INSTALLED, Dependencies, read_yaml, write_yaml
from cht_sync.transform.package.folder import copy

MACROS = "cht_sync"
"""Our package of macros."""
OUR_MACROS = CHECKOUT / "dbt" / "packages" / MACROS
PROJECT_FILE = "dbt_project.yml"
SECRETS = frozenset(name for name, variable in declared() if variable.secret)
"""Variables that are none of a package's business, but for its own password."""
PARSE_TIMEOUT = 300.0


def preparation_id() -> str:
    """Change when what is put into packages changes: a copy made by another release is made anew."""
    digest = hashlib.sha256(b"1")
    for path in sorted(OUR_MACROS.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def prepare(project: Path, original: Path, dependencies: Dependencies) -> str:
    """Make the copy `project` of `original` ready; return what an operator must know of it.

    Raises ChtSyncError for what is no dbt project, and for dependencies that cannot be had.
    """
    if not (project / PROJECT_FILE).is_file():
        raise ChtSyncError(f"it holds no {PROJECT_FILE} in its root")
    content = read_yaml(project / PROJECT_FILE)
    _adapt(content, project)
    write_yaml(project / PROJECT_FILE, content)
    note = dependencies.install(project, original)
    copy(OUR_MACROS, project / INSTALLED / MACROS)
    return note


def check(project: Path, options: TransformOptions, environment: Mapping[str, str]) -> None:
    """Parse a project in a process of its own, so that a broken one does no harm. Raises ChtSyncError."""
    words = [
        "parse",
        f"--project-dir={project}",
        f"--profiles-dir={options.profiles}",
        f"--vars={json.dumps(options.variables())}",
    ]
    try:
        run_dbt(words, environment=environment, timeout=PARSE_TIMEOUT)
    except ChtSyncError as error:
        raise ChtSyncError(f"dbt cannot read it: {error}") from error


def _adapt(content: dict[str, Any], project: Path) -> None:
    name = content.get("name")
    if not isinstance(name, str):
        raise ChtSyncError(f"{PROJECT_FILE} gives no name")
    installed = content.get("packages-install-path")
    if isinstance(installed, str) and installed != INSTALLED and (project / installed).is_dir():
        shutil.move(project / installed, project / INSTALLED)
    content["packages-install-path"] = INSTALLED
    flags = content.get("flags")
    # An environment variable with another value is no other model.
    content["flags"] = {
        **(flags if isinstance(flags, dict) else {}),
        "state_modified_compare_more_unrendered_values": True,
    }
    content["dispatch"] = _with_ours(content.get("dispatch"), name)


def _with_ours(dispatch: Any, name: str) -> list[Any]:
    rules = [rule for rule in dispatch if isinstance(rule, dict)] if isinstance(dispatch, list) else []
    others = [rule for rule in rules if rule.get("macro_namespace") != "dbt"]
    asked = next((rule for rule in rules if rule.get("macro_namespace") == "dbt"), {})
    order = [one for one in asked.get("search_order") or [name, "dbt"] if one != MACROS]
    place = order.index("dbt") if "dbt" in order else len(order)
    return [*others, {"macro_namespace": "dbt", "search_order": [*order[:place], MACROS, *order[place:]]}]


def process_environment(options: TransformOptions) -> dict[str, str]:
    """What a dbt in a process of its own is given: a package could write any variable into a table."""
    ours = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return {**ours, **options.environment()}
