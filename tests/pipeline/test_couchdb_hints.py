"""What a refused request tells its reader to correct, and how it reads."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cht_sync.environments import Environment
from cht_sync.errors import LoginRefused, sentences
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT, to_correct
from cht_sync.pipeline.couchdb.login import LoginGate
from cht_sync.runtime.logstash import Logstash
from cht_sync.settings import load


def refusal() -> LoginRefused:
    gate = LoginGate("medic")
    with pytest.raises(LoginRefused) as caught, gate.attempt(threading.Event()) as verdict:
        verdict(401, "Name or password is incorrect.")
    return caught.value


def test_a_hint_names_the_option_where_somebody_runs_a_configuration_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert to_correct("COUCHDB_DBS", "db") == "db of couchdb_changes"
    assert "Correct username and password of couchdb_changes; the next try" in sentences(refusal())


def test_a_hint_names_the_setting_where_the_environment_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Logstash(load(Environment.LOCAL, home=tmp_path, environ={})).environment()
    monkeypatch.setenv(ENVIRONMENT, given[ENVIRONMENT])
    assert to_correct("COUCHDB_DBS", "db") == "COUCHDB_DBS"
    assert "Correct COUCHDB_USER and COUCHDB_PASSWORD; the next try" in sentences(refusal())


def test_what_the_server_says_with_a_full_stop_has_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert sentences(refusal()).startswith(
        "CouchDB refuses the login of medic: Name or password is incorrect. Correct "
    )
