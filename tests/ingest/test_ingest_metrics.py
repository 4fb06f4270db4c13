"""`/metrics` of the embedded ingest server."""

from __future__ import annotations

from dataclasses import replace

import pytest
import requests
from free_ports import free_port
from ingest_support import Installation, running, wait_until
from monitoring_table import differences, exposed
from prometheus_client.parser import text_string_to_metric_families


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Value by name and the values of the labels."""
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


@pytest.fixture
def admin(installation: Installation) -> int:
    return free_port()


def metrics(port: int) -> str:
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return answer.text


def test_requests_are_counted_by_method_and_status(installation: Installation, admin: int) -> None:
    with running(replace(installation.config, admin_port=admin)) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/docs?limit=1").status == 200)
        assert client.get("/nowhere").status == 404
        assert client.post("/docs", [{"_id": "ada", "_rev": "1-a", "doc": {}}]).status == 201
        text = metrics(admin)
        found = samples(text)
        assert found["cht_sync_ingest_requests_total", "GET", "404"] == 1
        assert found["cht_sync_ingest_requests_total", "POST", "201"] == 1
        assert found["cht_sync_ingest_request_duration_seconds_count", "POST"] == 1
        assert found["cht_sync_ingest_received_bytes_total",] > 10
        assert found["cht_sync_ingest_ready",] == 1
        assert (
            found["pgrst_db_pool_available",] == found["pgrst_db_pool_max",] == installation.config.pool_size
        )
        assert list(differences("postgrest", text)) == []


def test_a_method_that_nobody_knows_is_no_label_of_its_own(installation: Installation, admin: int) -> None:
    with running(replace(installation.config, admin_port=admin)) as port:
        requests.request("BREW", f"http://127.0.0.1:{port}/docs", timeout=10)
        text = metrics(admin)
        assert "BREW" not in text
        assert 'method="other"' in text


def test_the_admin_server_has_a_type_and_a_help_for_each(installation: Installation, admin: int) -> None:
    with running(replace(installation.config, admin_port=admin)):
        assert all(one.help and one.type != "unknown" for one in exposed(metrics(admin)).values())
