"""A stop, or a reload, in the middle of a batch: what takes events gets all of it, what does not is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_runs import PATIENCE, Running, json_lines, start_process
from free_ports import free_port
from http_server import HttpServer, http_server
from reloading_engine import ReloadingEngine
from waiting import eventually

from cht_sync.settings import CHECKOUT

LINES = 60
SLOW = {"status": 200, "delay_s": 0.02}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server([SLOW]) as one:
        yield one


def numbers(server: HttpServer) -> list[Any]:
    return [json.loads(request.body)["message"] for request in server.requests]


def reading_stdin(folder: Path, output: str) -> subprocess.Popen[bytes]:
    """A process that has been given all lines at once, and waits for more."""
    config = f"input {{ stdin {{ }} }} output {{ {output} }}"
    environment = {"PYTHONPATH": str(CHECKOUT)}
    with (folder / "engine.log").open("wb") as log:
        process = start_process(folder, config, environment, stdin=subprocess.PIPE, stderr=log)
    assert process.stdin is not None
    process.stdin.write(b"".join(b"%d\n" % n for n in range(LINES)))
    process.stdin.flush()
    return process


def end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(PATIENCE)
    finally:
        process.kill()
        assert process.stdin is not None
        process.stdin.close()


def test_a_slow_server_gets_all_that_was_read_from_standard_input(server: HttpServer, tmp_path: Path) -> None:
    process = reading_stdin(tmp_path, f'http {{ url => "{server.url}" http_method => "post" }}')
    eventually(lambda: len(server.requests) > 3)
    assert end(process) == 0
    assert numbers(server) == [str(n) for n in range(LINES)]


def test_a_server_that_is_down_does_not_keep_the_process_and_the_log_says_what_was_left(
    tmp_path: Path,
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    process = reading_stdin(tmp_path, f'http {{ url => "{url}" http_method => "post" }}')
    log = tmp_path / "engine.log"
    eventually(lambda: "next try in" in log.read_text())
    assert end(process) == 0
    assert "the batch in hand is not acknowledged" in log.read_text()


def test_pipelines_that_hand_on_to_each_other_deliver_what_is_in_hand(
    server: HttpServer, tmp_path: Path
) -> None:
    """The sender is asked to stop first; the one that delivers, when nothing more can come."""
    (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(LINES)))
    running = Running(
        tmp_path,
        first=f"""input {{ file {{ path => "{tmp_path}/in" mode => read file_completed_action => delete }} }}
        output {{ pipeline {{ send_to => "second" }} }}""",
        second=f"""input {{ pipeline {{ address => "second" }} }}
        output {{ http {{ url => "{server.url}" http_method => "post" }} }}""",
    )
    eventually(lambda: len(server.requests) > 3)
    running.stop()
    assert numbers(server) == [str(n) for n in range(LINES)]


def test_what_standard_input_gave_reaches_every_pipeline_behind_it(
    server: HttpServer, tmp_path: Path
) -> None:
    """A stop while the first of two takes its time: the second has not been handed anything by then."""
    out = tmp_path / "out.jsonl"
    configs = {
        "first": 'input { stdin { } } output { pipeline { send_to => ["slow", "quick"] } }',
        "slow": f"""input {{ pipeline {{ address => "slow" }} }}
            output {{ http {{ url => "{server.url}" http_method => "post" }} }}""",
        "quick": f'input {{ pipeline {{ address => "quick" }} }} output {{ file {{ path => "{out}" }} }}',
    }
    for name, text in configs.items():
        (tmp_path / f"{name}.conf").write_text(text)
    entries = ", ".join(f"{{pipeline.id: {name}, path.config: {name}.conf}}" for name in configs)
    (tmp_path / "pipelines.yml").write_text(f"[{entries}]")
    places = ("--path.settings", tmp_path, "--path.data", tmp_path / "data")
    process = subprocess.Popen(
        [sys.executable, "-m", "cht_sync", "pipeline", "run", *places, "--api.enabled", "false"],
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"".join(b"%d\n" % n for n in range(LINES)))
    process.stdin.flush()
    eventually(lambda: len(server.requests) > 3)
    assert end(process) == 0
    assert numbers(server) == [str(n) for n in range(LINES)]
    assert [line["message"] for line in json_lines(out)] == [str(n) for n in range(LINES)]


def test_a_reload_delivers_the_batch_in_hand_once(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(LINES)))

    def config(version: int) -> str:
        return f"""
        input {{ file {{ path => "{tmp_path}/in" mode => read batch_size => 40
                         file_completed_action => log file_completed_log_path => "{tmp_path}/done" }} }}
        filter {{ mutate {{ add_field => {{ version => "{version}" }} }} }}
        output {{ http {{ url => "{server.url}" http_method => "post" }} }}"""

    (tmp_path / "main.conf").write_text(config(1))
    engine = ReloadingEngine(tmp_path, "- pipeline.id: main\n  path.config: main.conf\n")
    try:
        eventually(lambda: len(server.requests) > 3)
        engine.write("main.conf", config(2))
        engine.ask()
        eventually(lambda: len(server.requests) >= LINES)
    finally:
        engine.stop()
    assert numbers(server) == [str(n) for n in range(LINES)]
    versions = [json.loads(request.body)["version"] for request in server.requests]
    assert versions in (["1"] * 40 + ["2"] * 20, ["1"] * 60)


def test_a_file_gets_all_that_was_read_from_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = reading_stdin(tmp_path, f'file {{ path => "{out}/%{{message}}" }}')
    eventually(lambda: out.exists() and len(list(out.iterdir())) > 3)
    assert end(process) == 0
    assert [json_lines(out / str(n))[0]["message"] for n in range(LINES)] == [str(n) for n in range(LINES)]
