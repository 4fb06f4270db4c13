"""What the sampled reports of a form hold: each path with its values' types, share and examples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from cht_sync.transform.forms.kinds import KINDS, Json, Number

Path = tuple[str, ...]
"""Keys below a report's `fields`."""

DEEPEST = 12
"""What lies deeper is one jsonb column."""
MOST_PATHS = 5000
"""So many different paths are looked at; the rest is counted."""
EXAMPLES = 3
LONGEST_EXAMPLE = 60


@dataclass
class Field:
    """One path: in how many reports it has a value, and of which sort those are."""

    path: Path
    values: int = 0
    texts: int = 0
    """Texts, numbers and truth values among them; the rest are arrays and groups."""
    arrays: int = 0
    groups: int = 0
    fitting: Counter[str] = field(default_factory=Counter)
    """For each type of `KINDS`, how many of the texts could be read as it."""
    examples: list[str] = field(default_factory=list)

    def data_type(self) -> str:
        """The narrowest type that holds all values seen; text where there was none."""
        if self.arrays or self.groups:
            return "jsonb"
        if self.values:
            for kind in KINDS:
                if self.fitting[kind] == self.values:
                    return kind
        return "text"

    def fits(self) -> dict[str, float]:
        """The share of values that could be read as each type, where that is more than none."""
        return {kind: self.fitting[kind] / self.values for kind in KINDS if self.fitting[kind]}

    def saw(self, value: Json) -> None:
        if value is None or value == "":
            return
        self.values += 1
        if isinstance(value, list):
            self.arrays += 1
        elif isinstance(value, dict):
            self.groups += 1
        else:
            text = str(value) if isinstance(value, str) else json.dumps(value)
            self.texts += 1
            self.fitting.update(
                kind for kind, fits in KINDS.items() if fits(value if isinstance(value, str) else text)
            )
        if len(self.examples) < EXAMPLES:
            example = _shortened(value)
            if example not in self.examples:
                self.examples.append(example)


@dataclass
class Findings:
    """All reports together.

    `unreadable` have no fields, or too deep ones; `unnamed` counts values beyond `MOST_PATHS`.
    """

    reports: int = 0
    unreadable: int = 0
    unnamed: int = 0
    fields: dict[Path, Field] = field(default_factory=dict)
    nested: Counter[Path] = field(default_factory=Counter)
    """In how many reports a path is a group with fields of its own."""

    def add(self, fields: str | None) -> None:
        """Take in the `fields` of a report, as JSON."""
        self.reports += 1
        try:
            decoded: Json = json.loads(fields or "null", parse_float=Number, parse_int=Number)
        except RecursionError:
            decoded = None
        if not isinstance(decoded, dict):
            self.unreadable += 1
            return
        for path, value in _paths(decoded):
            if isinstance(value, _Group):
                if path in self.nested or len(self.nested) < MOST_PATHS:
                    self.nested[path] += 1
                continue
            known = self.fields.get(path)
            if known is None:
                if len(self.fields) >= MOST_PATHS:
                    self.unnamed += 1
                    continue
                known = self.fields[path] = Field(path)
            known.saw(value)

    def found(self) -> list[Field]:
        """All fields; what is a value in some reports and a group in others counts as both."""
        for path in self.nested.keys() & self.fields.keys():
            count = self.nested.pop(path)
            self.fields[path].groups += count
            self.fields[path].values += count
        return list(self.fields.values())

    def groups(self) -> list[Path]:
        """The paths of groups that are nothing else."""
        return sorted(self.nested.keys() - self.fields.keys())


class _Group:
    """Stands for a group whose fields follow."""


def _paths(report: dict[str, Json]) -> Iterator[tuple[Path, Json | _Group]]:
    # Without recursion: documents are nested as deeply as their writers like.
    waiting: list[tuple[Path, Json]] = [((key,), value) for key, value in reversed(report.items())]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value and len(path) < DEEPEST:
            yield path, _Group()
            waiting += [((*path, key), inner) for key, inner in reversed(value.items())]
        else:
            yield path, value


def _shortened(value: Json) -> str:
    if isinstance(value, list | dict):
        return f"{len(value)} entries"
    text = str(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 1] + "…"
