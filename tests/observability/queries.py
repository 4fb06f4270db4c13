"""What a PromQL expression asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
from monitoring_table import SUFFIXES, Metric, documented

PARTS = ("logstash", "dbt", "load", "postgrest")
OF_PROMETHEUS = frozenset({"job", "instance"})
"""Labels that Prometheus gives to whatever it scrapes."""
OTHERS = {"up": Metric("gauge", frozenset(), "1 while a target answers.")}
"""What Prometheus makes by itself."""


@dataclass(frozen=True)
class Asked:
    """A metric, and the labels that are matched or grouped by in the expression."""

    metric: str
    labels: frozenset[str]


def known() -> dict[str, Metric]:
    """Every metric of the page; the tests of each part hold it together with what the part exposes."""
    found = dict(OTHERS)
    for part in PARTS:
        found |= documented(part)
    for name, one in list(found.items()):
        if one.type == "histogram":
            del found[name]
            for suffix in SUFFIXES:
                labels = one.labels | {"le"} if suffix == "_bucket" else one.labels
                found[name + suffix] = Metric("counter", labels, one.help)
    return found


def asked(expression: str) -> Iterator[Asked]:
    """The metrics of an expression. Raises ValueError for one that is not PromQL."""
    # Grafana's variables are no PromQL.
    text = re.sub(r"\$__\w+", "5m", expression).replace("$database", "medic")
    yield from _selectors(promql_parser.parse(text), frozenset())


def _selectors(node: Any, grouped: frozenset[str]) -> Iterator[Asked]:
    if isinstance(node, promql_parser.VectorSelector):
        yield Asked(node.name, grouped | {one.name for one in node.matchers.matchers})
        return
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        grouped |= set(node.modifier.labels)
    members = ("expr", "lhs", "rhs", "vector_selector")
    for child in [getattr(node, name, None) for name in members] + list(getattr(node, "args", None) or []):
        if child is not None:
            yield from _selectors(child, grouped)


def problems(expression: str) -> list[str]:
    """What the expression asks for and nothing exposes."""
    there = known()
    found = list(asked(expression))
    assert found or expression == "vector(0)", f"{expression} asks for nothing"
    said = [f"{one.metric} is no metric" for one in found if one.metric not in there]
    for one in found:
        if one.metric in there:
            extra = one.labels - there[one.metric].labels - OF_PROMETHEUS
            said += [f"{one.metric} has no label {label}" for label in sorted(extra)]
    return said
