"""The models of a dbt project on disk: their names, and the form of those that are forms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from cht_sync.errors import ChtSyncError, SettingsError

FORMS = "forms"
"""The folder for forms below the project's models."""

_CALL = re.compile(r"\{\{-?\s*form\(\)\s*-?\}\}")
_LITERAL = re.compile(r'\{\{ ("(?:[^"\\]|\\U[0-9a-f]{8})*") \}\}')


@dataclass(frozen=True)
class ProjectModels:
    """`folder` is where forms belong, `names` are all models with their files.

    `forms` maps a form's code to its model, `properties` a model to the file that describes it.
    """

    folder: Path
    names: dict[str, Path]
    forms: dict[str, str]
    properties: dict[str, Path]


def local_project(url: str, own: Path) -> Path | None:
    """Return the project's folder where people edit it: `own` without a `url`, else the folder that it names.

    None for an address that is downloaded: what is written there is gone with the next version.
    """
    if not url:
        return own
    parts = urlsplit(url)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost") or parts.fragment:
        return None
    folder = Path(unquote(parts.path) if parts.scheme else url).expanduser().absolute()
    return folder if (folder / "dbt_project.yml").is_file() else None


def models_of(project: Path) -> ProjectModels:
    """Read the models of a project.

    Raises SettingsError where it is none, ChtSyncError for a file that is no YAML.
    """
    settings = project / "dbt_project.yml"
    if not settings.is_file():
        raise SettingsError([f"{project} holds no dbt_project.yml"])
    folders = [project / str(one) for one in (_yaml(settings).get("model-paths") or ["models"])]
    names = {file.stem: file for folder in folders for file in sorted(folder.rglob("*.sql"))}
    files = [
        file for folder in folders for end in ("yml", "yaml") for file in sorted(folder.rglob(f"*.{end}"))
    ]
    properties: dict[str, Path] = {}
    codes: dict[str, str] = {}
    for name, file, code in _described(files):
        properties[name] = file
        if code is not None:
            codes[name] = code
    forms = {
        codes.get(name, name): name
        for name, file in names.items()
        if _CALL.search(file.read_text(errors="replace"))
    }
    return ProjectModels(folders[0] / FORMS, names, forms, properties)


def has_form_macro(project: Path) -> bool:
    """Whether the project has the macro that forms are made by."""
    return (project / "macros" / "forms.sql").is_file()


def _described(files: list[Path]) -> Iterator[tuple[str, Path, str | None]]:
    """The models of property files, and the form's code that they name."""
    for file in files:
        models = _yaml(file).get("models")
        for one in models if isinstance(models, list) else []:
            code = _inner(one, "config", "meta", "form") or _inner(one, "meta", "form")
            if isinstance(one, dict):
                yield str(one.get("name")), file, None if code is None else _decoded(str(code))


def _inner(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _decoded(text: str) -> str:
    """The text that a literal of ours stands for (see `files.py`)."""
    found = _LITERAL.fullmatch(text)
    return str(ast.literal_eval(found.group(1))) if found else text


def _yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ChtSyncError(
            f"{file} is no YAML: {' '.join(str(error).split())}", hint="Mend it; dbt needs it too."
        ) from error
    return content if isinstance(content, dict) else {}
