"""The tables of metrics in docs/monitoring.md, and what a running part really exposes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from cht_sync.settings import CHECKOUT

PAGE = CHECKOUT / "docs" / "monitoring.md"
ROW = re.compile(r"\| `(\w+)` \| (\w+) \|([^|]*)\| (.+) \|")
OF_HISTOGRAMS = frozenset({"le"})
SUFFIXES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True)
class Metric:
    """One row: what there is to know of a metric before it is used."""

    type: str
    labels: frozenset[str]
    help: str


def documented(part: str) -> dict[str, Metric]:
    """The table below the heading of one part: `logstash`, `dbt`, `postgrest`."""
    text = PAGE.read_text()
    section = text.split(f"### Metrics of {part}\n", 1)[1].split("\n#", 1)[0]
    return {
        name: Metric(type, frozenset(re.findall(r"`(\w+)`", labels)), help)
        for name, type, labels, help in ROW.findall(section)
    }


def exposed(text: str) -> dict[str, Metric]:
    """What the text of a `/metrics` says, by the names that a query uses."""
    found = {}
    for family in text_string_to_metric_families(text):
        # The parser takes "_total" away; cht-watchdog has a counter that never had it.
        total = f"{family.name}_total"
        name = total if f"# TYPE {total} counter\n" in text else family.name
        labels = {label for sample in family.samples for label in sample.labels} - OF_HISTOGRAMS
        found[name] = Metric(family.type, frozenset(labels), family.documentation)
    return found


def differences(part: str, text: str) -> Iterator[str]:
    """What the page says and a running part does not, or the reverse."""
    page, real = documented(part), exposed(text)
    yield from (f"{name} is exposed and not in the table" for name in real.keys() - page.keys())
    yield from (f"{name} is in the table and not exposed" for name in page.keys() - real.keys())
    yield from (f"{name}: {page[name]} is {real[name]}" for name in page if page[name] != real.get(name))
