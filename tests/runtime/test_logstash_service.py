"""The pipelines as a service: where their monitoring API listens."""

from __future__ import annotations

from pathlib import Path

from test_screen import shown

from cht_sync.environments import Environment
from cht_sync.runtime import ports
from cht_sync.runtime.logstash import Logstash
from cht_sync.runtime.state import ServiceState
from cht_sync.settings import Settings, load


def settings(home: Path, **given: str) -> Settings:
    return load(Environment.LOCAL, home=home, environ=given)


def test_the_pipelines_get_the_port_of_the_monitoring_api(tmp_path: Path) -> None:
    service = Logstash(settings(tmp_path, LOGSTASH_API_PORT="19600"))
    assert service.port == 19600
    command = service.command()
    assert command[command.index("--api.http.port") + 1] == "19600"
    assert command[command.index("--api.http.host") + 1] == "127.0.0.1"


def test_a_default_port_that_is_taken_gives_way(tmp_path: Path) -> None:
    chosen = ports.choose(settings(tmp_path), ["logstash"], {}, lambda port: port != 9600)
    assert chosen.logstash_api_port != 9600


def test_the_final_screen_says_where_the_monitoring_api_is(tmp_path: Path) -> None:
    text = shown(tmp_path, services=[ServiceState("logstash", "running", port=19600)])
    assert "http://127.0.0.1:19600 (monitoring)" in text
