"""From a PUT in CouchDB to its row in a model: what is shown of it is the truth."""

from __future__ import annotations

from datetime import UTC, datetime

import requests
from whole_installation import Installation, wait_for

WITHOUT = ("--without", "data-generator", "--without", "superset")
UP = ("up", "--env", "local", "--runtime", "embedded", "--detach", *WITHOUT)


def test_what_status_shows_lies_within_what_was_seen(installation: Installation) -> None:
    screen = installation.run(*UP).stdout
    (port,) = (one["port"] for one in installation.status()["services"] if one["name"] == "dbt")
    assert f"http://127.0.0.1:{port}/metrics" in screen
    installation.couchdb("PUT", "medic/first", json={"type": "person", "name": "First"})
    _wait_until_counted(installation, "first")

    before_put = datetime.now(UTC)
    installation.couchdb("PUT", "medic/ada", json={"type": "person", "name": "Ada"})
    seen_absent = before_put
    while True:
        asked = datetime.now(UTC)
        if installation.sql("select 1 from dbt.person where uuid = 'ada'"):
            break
        seen_absent = asked
    _wait_until_counted(installation, "ada")
    counted = datetime.now(UTC)

    ((stored,),) = installation.sql(
        "select saved_timestamp at time zone 'UTC' from v1.medic where _id = 'ada'"
    )
    assert before_put <= stored
    shown = installation.status()["dbt"]
    fresh = shown["freshness"]
    assert shown["result"] == "success"
    assert fresh["documents"] == 1
    assert fresh["pipeline_seconds_behind"] == 0
    rounding = 0.01
    assert (seen_absent - stored).total_seconds() - rounding <= fresh["greatest"]
    assert fresh["greatest"] <= (counted - stored).total_seconds() + rounding
    assert fresh["greatest_of_last_hour"] >= fresh["greatest"] == fresh["median"] == fresh["seconds"]
    assert "a change reaches the models after" in installation.run("status").stdout

    metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert 'cht_sync_dbt_freshness_seconds{of="greatest"}' in metrics
    assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).json()["status"] == "ok"
    log = installation.home / ".cht-sync" / "local" / "dbt" / "logs" / "dbt.log"
    assert log.stat().st_mode & 0o777 == 0o600


def _wait_until_counted(installation: Installation, doc_id: str) -> None:
    query = (
        "select 1 from dbt.dbt_runs, v1.medic"
        " where _id = %s and documents_until >= saved_timestamp and documents > 0"
    )
    wait_for(lambda: bool(installation.sql(query, doc_id)), f"{doc_id} to be counted", installation.logs)
