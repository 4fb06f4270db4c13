"""The YAML of logstash.yml and pipelines.yml: nested and dotted keys, `${VARIABLES}`, places for errors.

`pipeline.batch.size: 125` and `pipeline: {batch: {size: 125}}` are the same setting. Every text goes
through `${NAME}` and `${NAME:default}` before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.problems import Place, problem, raise_all
from cht_sync.pipeline.config.variables import replace_in_setting


@dataclass(frozen=True)
class Given:
    """A value as a file or a flag gives it, and where that is."""

    value: Any
    place: Place


def read_map(path: Path, env: Mapping[str, str]) -> dict[str, Given]:
    """Return the settings of a file that is one map, by their dotted names. Raises ConfigError."""
    node = _compose(path)
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise problem("must be a map of settings", _place(path, node))
    return _Reader(path, env).map(node)


def read_list(path: Path, env: Mapping[str, str]) -> list[tuple[Place, dict[str, Given]]]:
    """Return the maps of a file that is a list of them, with their places. Raises ConfigError."""
    node = _compose(path)
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise problem("must be a list of pipelines", Place(str(path), 0, 0))
    reader = _Reader(path, env)
    return [(_place(path, entry), reader.map(entry)) for entry in node.value]


class _Reader:
    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self._path = path
        self._env = env

    def map(self, node: yaml.Node) -> dict[str, Given]:
        found: dict[str, Given] = {}
        problems: list[ConfigError] = []
        if isinstance(node, yaml.MappingNode):
            self._collect(node, "", found, problems)
        raise_all(problems)
        return found

    def _collect(
        self, node: yaml.MappingNode, prefix: str, found: dict[str, Given], problems: list[ConfigError]
    ) -> None:
        yaml.SafeLoader("").flatten_mapping(node)
        for key, value in node.value:
            name, place = f"{prefix}{key.value}", _place(self._path, key)
            if isinstance(value, yaml.MappingNode):
                self._collect(value, f"{name}.", found, problems)
            elif name in found:
                problems.append(problem(f'setting "{name}" is there twice', place))
            else:
                try:
                    found[name] = Given(self._replaced(_constructed(value)), place)
                except ValueError as error:
                    problems.append(problem(f'setting "{name}": {error}', place))

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, str):
            return replace_in_setting(value, self._env)
        return [self._replaced(item) for item in value] if isinstance(value, list) else value


def _compose(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is no YAML: {error}", path=str(path)) from error


def _constructed(node: yaml.Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _place(path: Path, node: yaml.Node) -> Place:
    return Place(str(path), node.start_mark.line + 1, node.start_mark.column + 1)
