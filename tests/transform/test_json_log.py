"""The log of the loop of dbt in JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from free_ports import free_port
from json_log import entries, events

from .looping import eventually, small
from .warehouse import CHECKOUT, Warehouse


def test_a_loop_says_in_json_what_it_ran_and_what_failed(fresh: Warehouse, tmp_path: Path) -> None:
    world = small(fresh, tmp_path)
    world.put("ada", {"type": "person", "name": "Ada", "born": "soon"})
    options = world.options
    log = tmp_path / "dbt.log"
    given = {
        "CHT_SYNC_HOME": str(tmp_path),
        "CHT_PIPELINE_BRANCH_URL": options.url,
        "DBT_POSTGRES_HOST": options.host,
        "POSTGRES_PORT": str(options.port),
        "POSTGRES_DB": options.database,
        "DBT_POSTGRES_USER": options.user,
        "DBT_POSTGRES_PASSWORD": options.password,
        "DATAEMON_INTERVAL": "0.2",
        "DBT_METRICS_PORT": str(free_port()),
        "LOG_FORMAT": "json",
        "PYTHONWARNINGS": "default",
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
    }
    with log.open("wb") as out:
        loop = subprocess.Popen(
            [sys.executable, "-m", "cht_sync", "dbt", "loop"], env=given, cwd=CHECKOUT, stdout=out, stderr=out
        )
    try:
        eventually(lambda: world.rows("people", "ada") and "models_ran" in log.read_text())
        world.put("ada", {"type": "person", "name": "Ada", "born": "2001-02-03"})
        eventually(lambda: '"result": "success"' in log.read_text())
    finally:
        loop.terminate()
        loop.wait(30)
    found = entries(log.read_text())
    [ran, *_] = [one for one in found if one.get("event") == "models_ran"]
    assert (ran["result"], ran["failed"], ran["models"]) == ("failed", 1, 2)
    assert ran["duration_seconds"] > 0
    assert next(one["model"] for one in found if one.get("event") == "model_failed") == "births"
    assert events(log.read_text())[0] == "package_changed"
