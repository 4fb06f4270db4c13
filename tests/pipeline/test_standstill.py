"""A pipeline that stands still is neither ready nor green, whatever its output is, until that is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_runs import Running
from http_server import http_server
from monitoring import Api, api
from waiting import eventually

from cht_sync import backoff

LINES = "generator { lines => [aa, bb] count => 1 }"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "delays", lambda **_: iter(lambda: 0.01, None))
    monkeypatch.setattr("cht_sync.pipeline.addresses.MISSING_AFTER", 0.05)


@contextmanager
def watched(folder: Path, output: str, source: str = LINES) -> Iterator[tuple[Running, Api]]:
    running = Running(folder, main=f"input {{ {source} }} output {{ {output} }}")
    try:
        with api(running.pipelines[0].pipeline.metrics) as one:
            yield running, one
    finally:
        running.stop()


def is_ready(one: Api) -> bool:
    return one.get("/readyz").status_code == 200


def assert_stands_still(one: Api, said: str, status: str) -> None:
    eventually(lambda: one.samples()["cht_sync_problems"] == 1)
    assert not is_ready(one)
    assert one.samples()["cht_sync_pipeline_ready"] == 0
    report = one.json("/_health_report")
    assert report["status"] == status
    assert said in report["indicators"]["pipelines"]["indicators"]["main"]["diagnosis"][0]["cause"]
    before = one.samples()
    eventually(lambda: one.samples()["cht_sync_seconds_behind"] > before["cht_sync_seconds_behind"] > 0)
    assert before["cht_sync_pending_changes"] == 2


def assert_is_over(running: Running, one: Api) -> None:
    running.wait()
    samples = one.samples()
    assert (samples["cht_sync_problems"], samples["cht_sync_seconds_behind"]) == (0, 0)
    assert samples["cht_sync_pending_changes"] == 0
    assert samples["cht_sync_documents_out_total"] == 2


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with watched(tmp_path, f'file {{ path => "{tmp_path}/folder/out" }}') as (running, one):
        assert_stands_still(one, "/folder/out cannot be written: ", "red")
        (tmp_path / "folder").unlink()
        assert_is_over(running, one)


def test_what_an_event_holds_is_not_shown_with_the_file(tmp_path: Path) -> None:
    with watched(tmp_path, 'file { path => "/proc/nope/%{message}" }') as (_running, one):
        assert_stands_still(one, "/proc/nope/%{message} cannot be written: ", "red")


def test_an_address_where_nobody_listens(tmp_path: Path) -> None:
    with watched(tmp_path, 'pipeline { send_to => "nobody" }') as (running, one):
        assert_stands_still(one, 'no pipeline listens at the address "nobody"', "red")
        listening = Running(
            tmp_path / "other", other='input { pipeline { address => "nobody" } } output { null { } }'
        )
        try:
            assert_is_over(running, one)
        finally:
            listening.stop()


def test_a_server_that_is_down(tmp_path: Path) -> None:
    with http_server([{"status": 503}]) as server:
        output = f'http {{ url => "{server.url}" http_method => "post" }}'
        with watched(tmp_path, output) as (running, one):
            assert_stands_still(one, "the server answered 503", "yellow")
            server.answers = [{"status": 200}]
            assert_is_over(running, one)


def test_a_file_that_is_read_is_behind_while_its_server_is_down(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\nb\n")
    source = f'file {{ path => "{tmp_path}/in" mode => read exit_after_read => true }}'
    with http_server([{"status": 503}]) as server:
        output = f'http {{ url => "{server.url}" http_method => "post" }}'
        with watched(tmp_path, output, source) as (running, one):
            assert_stands_still(one, "the server answered 503", "yellow")
            server.answers = [{"status": 200}]
            assert_is_over(running, one)
