"""Metrics under the names of cht-watchdog, beside our own.

cht-watchdog watches CHT deployments with Prometheus and Grafana. What it shows of couch2pg and of dbt comes
from sql_exporter, which asks PostgreSQL for it; its panels ask for these names and these labels. Those who
come from couch2pg or from cht-sync 2 shall keep these panels, so the pipelines and the loop of dbt tell the
same, out of what they know already. Our own metrics say more (docs/monitoring.md).

Source: cht-watchdog's `exporters/postgres/cht_sync_collector.yml`, and the Helm chart of cht-sync 2. There,
sql_exporter adds `target`, the name of the server that it asks, and the panels look in it for the host name
of the CHT. Here it is the host of CouchDB, as `cht_instance` is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

ALIVE_FOR = 60.0
"""Seconds for which a stored position counts as new; an idle pipeline stores it again a little sooner."""
NUMBER = re.compile(r"\d+(?=-|$)", re.ASCII)


@dataclass(frozen=True)
class Family:
    """One metric: its name, its type, what it says, and its labels."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


OF_A_DATABASE = ("db", "cht_instance", "target")
SEQUENCE = Family(
    "couch2pg_progress_sequence",
    "counter",
    "Up to where changes are stored: the number with which CouchDB's sequence begins.",
    OF_A_DATABASE,
)
PENDING = Family(
    "couch2pg_progress_pending",
    "gauge",
    "Changes of the database that are known and not yet stored.",
    OF_A_DATABASE,
)
UP = Family(
    "couch2pg_up",
    "gauge",
    "1 if the position of the database was stored within the last minute, else 0.",
    OF_A_DATABASE,
)
LATENCY = Family(
    "dbt_latency",
    "gauge",
    "Seconds from the newest document that the models have to the newest one that is stored.",
)
EXECUTION_TIME = Family(
    "dbt_execution_time",
    "gauge",
    "Seconds that the last build of a model took.",
    ("table_name",),
)
Sample = tuple[dict[str, str], float]


@dataclass(frozen=True)
class Position:
    """How far one pipeline is with one database.

    `source` is `<host>/<database>`, `sequence` CouchDB's own, None where none is known; `age` are the seconds
    since the position was stored, None where it was not yet. `pending` changes are known and not stored.
    """

    source: str
    sequence: str | None
    pending: int
    age: float | None


def samples(positions: Iterable[Position]) -> Iterator[tuple[Family, list[Sample]]]:
    """The families of databases; where several pipelines read one, what is true of the slowest."""
    by_source: dict[str, list[Position]] = {}
    for position in positions:
        by_source.setdefault(position.source, []).append(position)
    of_one: tuple[tuple[Family, Callable[[Sequence[Position]], float | None]], ...] = (
        (SEQUENCE, _sequence),
        (PENDING, lambda found: max(one.pending for one in found)),
        (UP, lambda found: all(one.age is not None and one.age <= ALIVE_FOR for one in found)),
    )
    for family, value_of in of_one:
        values = ((source, value_of(found)) for source, found in by_source.items())
        yield family, [(_labels(source), value) for source, value in values if value is not None]


def _sequence(found: Sequence[Position]) -> float | None:
    numbers = [NUMBER.match(one.sequence) for one in found if one.sequence is not None]
    return min((int(number[0]) for number in numbers if number is not None), default=None)


def _labels(source: str) -> dict[str, str]:
    host, _slash, database = source.partition("/")
    return {"db": database, "cht_instance": host, "target": host}
