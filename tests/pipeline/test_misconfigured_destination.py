"""What is configured wrongly at PostgreSQL: the pipeline waits loudly, and goes on by itself when mended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_couchdb import FakeCouchdb, fake_couchdb
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.served import Served

from cht_sync.pipeline.monitor.readiness import report


@pytest.fixture
def couchdb() -> Iterator[FakeCouchdb]:
    with fake_couchdb() as server:
        yield server


@pytest.mark.parametrize(
    ("breaks", "mends", "code"),
    [
        ("revoke insert on v1.medic from {role}", "grant insert on v1.medic to {role}", "42501"),
        ("revoke usage on schema v1 from {role}", "grant usage on schema v1 to {role}", "42501"),
        (
            "alter table v1.medic rename to away; notify pgrst, 'reload schema'",
            "alter table v1.away rename to medic; notify pgrst, 'reload schema'",
            "PGRST205",
        ),
        (
            "alter table v1.medic rename doc to d; notify pgrst, 'reload schema'",
            "alter table v1.medic rename d to doc; notify pgrst, 'reload schema'",
            "PGRST204",
        ),
    ],
    ids=["right to write", "right to the schema", "table", "column"],
)
def test_it_is_waited_for_and_said_and_nothing_is_a_dead_letter(
    couchdb: FakeCouchdb,
    warehouse: Served,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    breaks: str,
    mends: str,
    code: str,
) -> None:
    couchdb.write("before")
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, batch_size=2)
    line.start()
    query = warehouse.installation.query
    try:
        line.await_rows(couchdb.documents())
        query(breaks.format(role=warehouse.role))
        couchdb.write(*[f"d{number}" for number in range(7)])

        def waits() -> bool:
            return any(one.serious and code in one.text for one in line.metrics.problems())

        eventually(waits)
        assert report([line.metrics])["status"] == "red"
        errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
        assert any(code in error for error in errors)
        query(mends.format(role=warehouse.role))
        line.await_rows(couchdb.documents())
        eventually(lambda: line.metrics.problems() == [])
    finally:
        line.stop()
    assert warehouse.letters() == []
    stamps = query("select _id from v1.medic where _id like 'd%' order by saved_timestamp, _id")
    assert [id for (id,) in stamps] == [f"d{number}" for number in range(7)]
