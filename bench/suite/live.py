"""How long a change takes: from CouchDB's acknowledgement to the committed row, and to the models."""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from psycopg2.extensions import connection as Connection

from bench.suite.couchdb import writing
from bench.suite.stand import Stand, wait_until
from cht_sync.runtime.dbt import Dbt

SIGNAL = """
create or replace function bench_tell() returns trigger language plpgsql as $$
  begin perform pg_notify('bench', new._id); return null; end $$;
create or replace trigger bench_tell after insert on v1.medic for each row execute function bench_tell();
"""
"""PostgreSQL tells of each row once its transaction is safe: nothing has to be asked again and again."""
NO_SIGNAL = "drop trigger bench_tell on v1.medic"
LOOK_EVERY = 0.1
"""Seconds between two looks at the models."""
MODELS_PATIENCE = 300.0
"""Seconds for which the first models are waited for."""
PATIENCE = 60.0
"""Seconds for which the last documents are waited for."""


@dataclass(frozen=True)
class Delays:
    """Milliseconds, sorted; `rate` is what was acknowledged in a second, `lost` what never came."""

    rate: float
    milliseconds: Sequence[float]
    lost: int

    def share(self, part: float) -> float:
        """The delay below which this part of the documents was."""
        if not self.milliseconds:
            return float("nan")
        return self.milliseconds[min(len(self.milliseconds) - 1, int(part * len(self.milliseconds)))]


def latency(bench: Stand, rate: float, seconds: float) -> Delays:
    """PUT documents at a rate and wait for their rows; the pipeline runs and has caught up."""
    with closing(bench.connect()) as listener:
        cursor = listener.cursor()
        cursor.execute(SIGNAL)
        cursor.execute("listen bench")
        try:
            with writing(bench.settings, rate, seconds, f"latency-{rate:g}") as told:
                stored: dict[str, float] = {}
                acknowledged = _both(listener, told, stored)
        finally:
            cursor.execute(NO_SIGNAL)
    return _delays(acknowledged, stored)


def freshness(bench: Stand, rate: float, seconds: float) -> Delays:
    """PUT documents at a rate while the loop of dbt runs, and wait for their rows in a model."""
    schema = bench.settings.dbt_postgres_schema
    with bench.running(Dbt(bench.settings, wait_for_documents=False)), closing(bench.connect()) as connection:
        cursor = connection.cursor()

        def is_there() -> bool:
            cursor.execute("select to_regclass(%s) is not null", (f"{schema}.person",))
            return cursor.fetchone() == (True,)

        wait_until(is_there, every=0.5, patience=MODELS_PATIENCE)
        wait_until(lambda: _is_fresh(bench), every=0.5, patience=MODELS_PATIENCE)
        with writing(bench.settings, rate, seconds, "freshness") as told:
            seen: dict[str, float] = {}
            acknowledged: dict[str, float] | None = None
            deadline = time.monotonic() + seconds + PATIENCE
            while time.monotonic() < deadline:
                cursor.execute(
                    f"select uuid from {schema}.person where uuid like 'freshness-%%' and not uuid = any(%s)",
                    (list(seen),),
                )
                now = time.monotonic()
                seen |= {id: now for (id,) in cursor.fetchall()}
                if acknowledged is None and told.poll():
                    acknowledged = _told(told)
                if acknowledged is not None and len(seen) >= len(acknowledged):
                    break
                time.sleep(LOOK_EVERY)
        return _delays(acknowledged or {}, seen)


def _is_fresh(bench: Stand) -> bool:
    """Whether the models have what was written last."""
    schema = bench.settings.dbt_postgres_schema
    (last,) = bench.ask("select _id from v1.medic order by saved_timestamp desc limit 1")
    return bench.ask(f"select 1 from {schema}.person where uuid = %s", *last) != []


def _both(listener: Connection, told: Pipe, stored: dict[str, float]) -> Mapping[str, float]:
    """Listen until all that was acknowledged is stored."""
    acknowledged: dict[str, float] | None = None
    deadline: float | None = None
    while True:
        select.select([listener.fileno(), told.fileno()], [], [], 1.0)
        listener.poll()
        now = time.monotonic()
        for one in listener.notifies:
            stored.setdefault(one.payload, now)
        listener.notifies.clear()
        if acknowledged is None and told.poll():
            acknowledged = _told(told)
            deadline = now + PATIENCE
        if acknowledged is None or deadline is None:
            continue
        if all(id in stored for id in acknowledged) or now > deadline:
            return acknowledged


def _told(told: Pipe) -> dict[str, float]:
    found: dict[str, float] = {}
    while (one := told.recv()) is not None:
        found[one[0]] = one[1]
    return found


def _delays(acknowledged: Mapping[str, float], arrived: Mapping[str, float]) -> Delays:
    moments = list(acknowledged.values())
    span = max(moments) - min(moments) if len(moments) > 1 else 1.0
    delays = sorted((arrived[id] - moment) * 1000 for id, moment in acknowledged.items() if id in arrived)
    return Delays((len(moments) - 1) / span, delays, len(acknowledged) - len(delays))
