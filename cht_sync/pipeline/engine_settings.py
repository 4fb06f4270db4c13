"""The settings of logstash.yml and pipelines.yml: those that work here, and those that only Logstash has.

Source: Logstash's logstash/environment.rb and settings.rb. What pipelines.yml says of a
pipeline is stronger than a flag, that one stronger than logstash.yml, and that one stronger than the default.
A setting that Logstash has and this engine has not is named in one warning; one that Logstash does not have
either stops the start; so does one whose loss would change what a configuration means, or who can read what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cht_sync.errors import ConfigError
from cht_sync.logs import LEVELS
from cht_sync.pipeline.config.problems import Place, nearest, problem, raise_all
from cht_sync.pipeline.dead_letter import MOST_BYTES
from cht_sync.pipeline.ecs import ECS_CHOICES
from cht_sync.pipeline.logstash_settings import ABSENT, ABSENT_FAMILIES, ABSENT_LISTED, REFUSED
from cht_sync.pipeline.monitor.server import DEFAULT_HOST, DEFAULT_PORTS, ports
from cht_sync.pipeline.replay.durations import seconds_of
from cht_sync.pipeline.yaml_settings import Given

COMMAND_LINE = "command line"
"""The name that flags have in errors."""
SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
"""Units of sizes, as powers of two."""


@dataclass(frozen=True)
class Setting:
    """One that works here. `convert` raises ValueError; `listed` ones are allowed in pipelines.yml."""

    convert: Callable[[Any], Any]
    default: Any = None
    listed: bool = False


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}; quote it")
    return value


def _path(value: Any) -> Path:
    return Path(_text(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in value) if isinstance(value, list | tuple) else (_text(value),)


def _boolean(value: Any) -> bool:
    known = {True: True, False: False, "true": True, "false": False}
    if not isinstance(value, bool | str) or value not in known:
        raise ValueError(f"expected true or false, got {value!r}")
    return known[value]


def _whole(least: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
            raise ValueError(f"expected a whole number from {least} on, got {value!r}")
        return int(text)

    return convert


def _one_of(*choices: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = str(value).lower() if isinstance(value, bool) else value
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {value!r}")
        return str(text)

    return convert


def _duration(value: Any) -> float:
    text = str(value)
    if isinstance(value, int | float) or text.strip().isdigit():
        raise ValueError(f"expected a duration with its unit, as 3s, got {value!r}")
    seconds = seconds_of(text)
    if seconds <= 0:
        raise ValueError(f"expected a duration that is longer than nothing, got {value!r}")
    return seconds


def _size(value: Any) -> int:
    text = str(value).strip().lower()
    match = re.fullmatch(r"(\d{1,12}) *([kmgt]?)b", text, re.ASCII)
    if match is None:
        raise ValueError(f"expected a size with its unit, as 1024mb, got {value!r}")
    return int(match[1]) << SHIFTS[match[2]]


def _ports(value: Any) -> range:
    return value if isinstance(value, range) else ports(str(value))


SETTINGS: Mapping[str, Setting] = {
    "api.enabled": Setting(_boolean, True),
    "api.http.host": Setting(_text, DEFAULT_HOST),
    "api.http.port": Setting(_ports, DEFAULT_PORTS),
    "config.reload.automatic": Setting(_boolean, False),
    "config.reload.interval": Setting(_duration, 3.0),
    "config.string": Setting(_text, listed=True),
    "config.support_escapes": Setting(_boolean, False, listed=True),
    "config.test_and_exit": Setting(_boolean, False),
    "dead_letter_queue.max_bytes": Setting(_size, MOST_BYTES, listed=True),
    "log.format": Setting(_one_of("plain", "json"), "plain"),
    "log.level": Setting(_one_of(*LEVELS), "info"),
    "node.name": Setting(_text, ""),
    "path.config": Setting(_texts, listed=True),
    "path.data": Setting(_path),
    "path.dead_letter_queue": Setting(_path, listed=True),
    "pipeline.batch.delay": Setting(_whole(0), listed=True),
    "pipeline.batch.size": Setting(_whole(1), listed=True),
    "pipeline.ecs_compatibility": Setting(_one_of(*ECS_CHOICES), listed=True),
    "pipeline.id": Setting(_text, "main", listed=True),
    "pipeline.ordered": Setting(_one_of("auto", "true", "false"), "auto", listed=True),
    "pipeline.reloadable": Setting(_boolean, True, listed=True),
    "pipeline.workers": Setting(_whole(1), 1, listed=True),
}
"""By name, with their defaults. None stands for what the plugins themselves have."""


@dataclass(frozen=True)
class EngineSettings:
    """Settings that were given, converted, by name; `absent` are those that have no effect."""

    values: Mapping[str, Any] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Any:
        """The value that counts: the given one, else the default."""
        return self.values.get(name, SETTINGS[name].default)

    def __contains__(self, name: str) -> bool:
        """Whether it was given."""
        return name in self.values

    def under(self, stronger: EngineSettings) -> EngineSettings:
        """Return both together; where both have a setting, that of `stronger`."""
        return EngineSettings({**self.values, **stronger.values}, self.absent | stronger.absent)


def settings_of(given: Mapping[str, Given], *, listed: bool = False) -> EngineSettings:
    """Convert settings; `listed` says that they are those of one pipeline in pipelines.yml.

    Raises ConfigError for all that are unknown or have values that cannot be used.
    """
    values: dict[str, Any] = {}
    absent: set[str] = set()
    problems: list[ConfigError] = []
    for name, one in given.items():
        try:
            if _has_no_effect(name, one.value, listed):
                absent.add(name)
            elif name in SETTINGS and (SETTINGS[name].listed or not listed):
                values[name] = SETTINGS[name].convert(one.value)
            elif name not in REFUSED:
                problems.append(problem(_unknown(name, listed), one.place))
        except ValueError as error:
            problems.append(problem(f'setting "{name}": {error}', one.place))
    raise_all(problems)
    return EngineSettings(values, frozenset(absent))


def flag(value: Any) -> Given:
    """Return what a flag gives."""
    return Given(value, Place(COMMAND_LINE, 0, 0))


def _has_no_effect(name: str, value: Any, listed: bool) -> bool:
    """Whether it is one of Logstash's own. Raises ValueError for one that cannot be left without effect."""
    if listed:
        return name in ABSENT_LISTED or name.startswith("config.reload.")
    if name in REFUSED:
        harmless, what_to_do = REFUSED[name]
        if value not in harmless:
            raise ValueError(what_to_do)
        return False
    return name in ABSENT or name.startswith(ABSENT_FAMILIES)


def _unknown(name: str, listed: bool) -> str:
    known = {one for one, setting in SETTINGS.items() if setting.listed or not listed}
    if listed and name in {*SETTINGS, *ABSENT, *REFUSED}:
        return f'setting "{name}" is one of logstash.yml, and not of a single pipeline; move it there'
    others = ABSENT_LISTED if listed else ABSENT
    return f'setting "{name}" is not known{nearest(name, known | others)}'
