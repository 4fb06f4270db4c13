"""The doctor beside local processes that run: all is well, until something is not."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from whole_installation import Installation, wait_for

from cht_sync import process


def diagnosis(installation: Installation, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = installation.run("doctor", "--json", *words, check=False)
    return done.returncode, json.loads(done.stdout)


def messages(found: list[dict[str, Any]], result: str) -> dict[str, str]:
    return {one["check"]: one["message"] for one in found if one["result"] == result}


@pytest.mark.timeout(600)
def test_what_runs_is_examined_and_what_stands_still_is_named(installation: Installation) -> None:
    code, found = diagnosis(installation)
    assert code == 0
    assert messages(found, "skipped")["services"] == "nothing of local runs here"
    assert list(installation.home.iterdir()) == []

    installation.run("up", "--detach", "--without", "superset", "--without", "data-generator")
    code, found = diagnosis(installation)
    assert (code, messages(found, "failed"), messages(found, "warning")) == (0, {}, {})
    assert {*messages(found, "skipped")} == {"superset-secrets", "superset", "docker"}

    _code, found = diagnosis(installation, "--env", "gamma")
    assert messages(found, "warning")["services"].startswith("local is running here")

    for one in (installation.state.supervisor_pid, installation.process_id("couchdb")):
        os.kill(one, signal.SIGKILL)
    wait_for(lambda: installation.state.supervisor.find() is None, "the supervisor's end")
    code, found = diagnosis(installation)
    assert code == 1
    failed = [one["message"] for one in found if one["result"] == "failed"]
    assert failed == ["the supervisor is gone", "couchdb is stopped"]
    assert messages(found, "skipped")["couchdb-login"] == "couchdb is not running"
    assert messages(found, "ok")["token"] == "takes a token of PGRST_JWT_SECRET"

    for left in installation.state.leftovers():
        process.kill(left)
    code, found = diagnosis(installation)
    assert code == 1
    assert "local was started and has ended without `down`" in messages(found, "failed")["services"]
