"""`cht-sync pipeline run` and `pipeline test` as processes: signals, exit codes, the lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline.engine_runs import json_lines
from waiting import eventually

from cht_sync import __version__
from cht_sync.settings import CHECKOUT

PATIENCE = 60.0
RUN = [sys.executable, "-m", "cht_sync", "pipeline"]
Engine = subprocess.Popen[bytes]
Start = Callable[..., Engine]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `pipeline run` in the folder; what still runs at the end is killed."""
    started: list[Engine] = []

    def make(*arguments: str) -> Engine:
        with (tmp_path / "engine.log").open("ab") as log:
            one = subprocess.Popen(
                [*RUN, "run", "--api.enabled", "false", *arguments],
                cwd=tmp_path,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        started.append(one)
        return one

    yield make
    for one in started:
        if one.poll() is None:
            one.kill()
            one.wait()


def said(*arguments: str, cwd: Path, input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=cwd,
        env=environment(),
        input=input,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def endless(folder: Path, name: str = "out.json", text: str = "a") -> str:
    return f"""
        input {{ generator {{ message => "{text}" batch_size => 5 }} }}
        output {{ file {{ path => "{folder}/{name}" codec => json_lines }} }}
    """


def replaying(folder: Path) -> str:
    return f"""
        input {{ file {{ path => "{folder}/lines.json" mode => "read" codec => "json" batch_size => 10
                         file_completed_action => "log" file_completed_log_path => "{folder}/done.log" }} }}
        output {{ file {{ path => "{folder}/out.json" codec => json_lines }} }}
    """


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_sigterm_drains_and_the_next_run_goes_on_where_it_ended(tmp_path: Path, start: Start) -> None:
    (tmp_path / "lines.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(30_000)))
    (tmp_path / "main.conf").write_text(replaying(tmp_path))
    out = tmp_path / "out.json"
    for _run in range(3):
        before = lines_of(out)
        engine = start("-f", "main.conf")
        eventually(lambda before=before: lines_of(out) > before)  # type: ignore[misc]
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(PATIENCE) == 0
    engine = start("-f", "main.conf")
    eventually(lambda: lines_of(out) >= 30_000)
    engine.send_signal(signal.SIGINT)
    assert engine.wait(PATIENCE) == 0
    assert [line["n"] for line in json_lines(out)] == list(range(30_000))


def test_a_second_signal_abandons_what_does_not_end(tmp_path: Path, start: Start) -> None:
    (tmp_path / "main.conf").write_text(
        'input { generator { } } filter { python { function => "stuck:wait" } } output { null { } }'
    )
    (tmp_path / "stuck.py").write_text(
        "import pathlib, threading\n"
        "def wait(event):\n"
        "    pathlib.Path('stuck').touch()\n"
        "    threading.Event().wait()\n"
    )
    engine = start("-f", "main.conf", "--enable-python-filter")
    eventually(lambda: (tmp_path / "stuck").exists() or engine.poll() is not None)
    engine.send_signal(signal.SIGTERM)
    engine.send_signal(signal.SIGINT)
    assert engine.wait(PATIENCE) == 1
    assert "abandoned" in (tmp_path / "engine.log").read_text()


def test_sighup_reloads_and_does_not_end_it(tmp_path: Path, start: Start) -> None:
    config = tmp_path / "main.conf"
    config.write_text(endless(tmp_path, "one.json"))
    engine = start("-f", "main.conf")
    eventually((tmp_path / "one.json").exists)
    config.write_text("input { generatr { } }")
    engine.send_signal(signal.SIGHUP)
    log = tmp_path / "engine.log"
    eventually(lambda: 'main.conf:1:9: unknown input "generatr"' in log.read_text())
    before = lines_of(tmp_path / "one.json")
    eventually(lambda: lines_of(tmp_path / "one.json") > before)
    config.write_text(endless(tmp_path, "two.json"))
    engine.send_signal(signal.SIGHUP)
    eventually((tmp_path / "two.json").exists)
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(PATIENCE) == 0


def test_with_automatic_reload_a_changed_file_is_noticed(tmp_path: Path, start: Start) -> None:
    config = tmp_path / "main.conf"
    config.write_text(endless(tmp_path, "one.json"))
    engine = start("-f", "main.conf", "-r", "--config.reload.interval", "50ms")
    eventually((tmp_path / "one.json").exists)
    config.write_text(endless(tmp_path, "two.json"))
    eventually((tmp_path / "two.json").exists)
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(PATIENCE) == 0


def test_a_data_folder_belongs_to_one_process_and_is_free_again_after_a_kill(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "main.conf").write_text(endless(tmp_path))
    first = start("-f", "main.conf")
    eventually((tmp_path / "out.json").exists)
    second = said("run", "-f", "main.conf", "--api.enabled", "false", cwd=tmp_path)
    assert second.returncode == 1
    assert second.stderr.splitlines() == [
        "error: the data folder data is in use by another process",
        "End that one, or give this one a folder of its own with --path.data.",
    ]
    assert said("run", "-f", "main.conf", "-t", cwd=tmp_path).stdout == "Configuration OK\n"
    first.kill()
    first.wait()
    before = lines_of(tmp_path / "out.json")
    third = start("-f", "main.conf")
    eventually(lambda: lines_of(tmp_path / "out.json") > before + 5)
    third.send_signal(signal.SIGTERM)
    assert third.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--nothing",), "No such option"),
        (("-e", "input { generator { } }", "-r"), "needs files"),
        (("-e", "x", "-f", "y"), "not from both"),
        (("-f", "missing/*.conf"), "missing/*.conf: no configuration found"),
        (("-S", "a"), "no KEY=VALUE"),
        (("-S", "a=b"), 'setting "a" is not known'),
        (("-e", "x", "-w", "2", "--pipeline.ordered", "true"), "needs pipeline.workers: 1"),
        (("--path.settings", "missing"), "missing: is no folder"),
        (("-e", "input { generator { } }", "--api.http.port", "x"), "no port"),
        (("-e", "input { generator { } }", "--path.data", "/proc/data"), "/proc/data"),
    ],
)
def test_what_is_refused_ends_with_1_and_says_why(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = said("run", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_alone_reads_standard_input_and_prints(tmp_path: Path) -> None:
    text = (
        'filter { mutate { add_field => { "seen" => "%{message}!" } } } output { stdout { codec => json } }'
    )
    done = said("run", "-e", text, "--api.enabled", "false", cwd=tmp_path, input="hello\n")
    assert done.returncode == 0
    assert json.loads(done.stdout)["seen"] == "hello!"


def test_more_workers_keep_the_order(tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(1_000)))
    text = "input { stdin { codec => json_lines } } output { stdout { codec => json_lines } }"
    lines = "".join(f'{{"n":{n}}}\n' for n in range(1_000))
    done = said("run", "-e", text, "-w", "4", "-b", "7", "--api.enabled", "false", cwd=tmp_path, input=lines)
    assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == list(range(1_000))


def test_a_pipeline_that_fails_leaves_the_others_at_work_and_the_exit_code_is_1_in_the_end(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.gz").write_bytes(b"broken")
    failing = f"""input {{ file {{ path => "{tmp_path}/*.gz" mode => read exit_after_read => true
                                check_archive_validity => true }} }} output {{ null {{ }} }}"""
    other = f"""input {{ generator {{ count => 20000 batch_size => 5 }} }}
                output {{ file {{ path => "{tmp_path}/out.json" codec => json_lines }} }}"""
    (tmp_path / "failing.conf").write_text(failing)
    (tmp_path / "other.conf").write_text(other)
    (tmp_path / "pipelines.yml").write_text(
        "[{pipeline.id: failing, path.config: failing.conf}, {pipeline.id: other, path.config: other.conf}]"
    )
    done = said("run", "--path.settings", ".", "--api.enabled", "false", cwd=tmp_path)
    assert done.returncode == 1
    assert lines_of(tmp_path / "out.json") == 20_000
    assert "ERROR" in done.stderr
    assert "pipeline failing failed: 1 files cannot be read, such as " in done.stderr
    assert "it is no whole archive" in done.stderr
    assert "It is tried again in 1 s, or at once on SIGHUP; other pipelines go on." in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_of_logstash_without_effect_are_taken_and_named(tmp_path: Path) -> None:
    flags = ("-l", "logs", "-p", "plugins", "--config.debug", "--pipeline.unsafe_shutdown", "-w", "4")
    done = said("run", "-t", "-e", "output { null { } }", *flags, cwd=tmp_path)
    assert done.stdout == "Configuration OK\n"
    named = "settings of Logstash that have no effect here: config.debug, path.logs, path.plugins, "
    assert f"{named}pipeline.unsafe_shutdown" in done.stderr
    assert "pipeline.workers has no effect here (main: 4)" in done.stderr


def test_the_version_is_told(tmp_path: Path) -> None:
    assert said("run", "-V", cwd=tmp_path).stdout == f"cht-sync, version {__version__}\n"


FILTERS = """
    input { couchdb_changes { db => medic } }
    filter {
      if [@metadata][drop] { drop { } }
      mutate { add_field => { "[@metadata][seen]" => "%{n}" } }
    }
    output { http { url => "http://localhost:1" http_method => post } }
"""


def test_events_of_a_file_go_through_the_filters_and_nowhere_else(tmp_path: Path) -> None:
    events = '{"n":1,"@timestamp":"2026-01-01T00:00:00Z"}\n\n{"n":2,"@metadata":{"drop":true}}\n'
    (tmp_path / "events.jsonl").write_text(events)
    (tmp_path / "main.conf").write_text(FILTERS)
    done = said("test", "-f", "main.conf", "--events", "events.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "@metadata": {"seen": "1"},
            "n": 1,
            "@timestamp": "2026-01-01T00:00:00.000Z",
            "@version": "1",
        }
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "main.conf"]


@pytest.mark.parametrize(
    ("events", "says"), [("{}\n{", "<stdin>:2: is no JSON"), ("5\n", "<stdin>:1: an event is an object")]
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, events: str, says: str) -> None:
    (tmp_path / "main.conf").write_text(FILTERS)
    done = said("test", "-f", "main.conf", "--events", "-", cwd=tmp_path, input=events)
    assert done.returncode == 1
    assert says in done.stderr


def test_of_several_pipelines_one_is_named_for_its_events(tmp_path: Path) -> None:
    text = "- {pipeline.id: one, config.string: '%s'}\n- {pipeline.id: two, config.string: '%s'}"
    config = (
        'input { generator { } } filter { mutate { replace => { "message" => "seen" } } } output { null { } }'
    )
    (tmp_path / "pipelines.yml").write_text(text % (config, config))
    settings = ("test", "--path.settings", ".")
    assert said(*settings, cwd=tmp_path).stdout == "Configuration OK\n"
    unnamed = said(*settings, "--events", "-", cwd=tmp_path, input="{}")
    assert unnamed.returncode == 1
    assert "name it with --pipeline.id (one, two)" in unnamed.stderr
    named = said(*settings, "--pipeline.id", "two", "--events", "-", cwd=tmp_path, input="{}")
    assert json.loads(named.stdout)["message"] == "seen"


JSON = ("--log.format", "json")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-t", "-e", "filter { mutate { id => '${NOPE}' } } filter { grok { } }"), ["`NOPE`", '"grok"']),
        (("-f", "nowhere.conf"), ["nowhere.conf: no configuration found"]),
        (("-S", "pipeline.wrokers=2", "-e", ""), ["pipeline.wrokers"]),
        (("-e", "", "--path.data", "file/data"), ["file/data: Not a directory"]),
        (("-e", "", "-f", "main.conf"), ["not from both"]),
    ],
)
def test_with_json_logs_the_errors_of_the_start_are_json(
    tmp_path: Path, arguments: tuple[str, ...], says: list[str]
) -> None:
    (tmp_path / "file").touch()
    done = said("run", *JSON, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "critical"]
    assert len(errors) == len(says)
    for expected, error in zip(says, errors, strict=True):
        assert expected in error


def test_json_logs_of_logstash_yml_hold_for_errors_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "logstash.yml").write_text("log.format: json\nlog.level: fatal\n")
    done = said("test", "--path.settings", ".", "-e", "input { generatr { } }", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert 'unknown input "generatr"' in line["message"]


def test_a_configuration_that_is_refused_fails_its_test(tmp_path: Path) -> None:
    done = said("test", "-e", "input { generatr { } }", cwd=tmp_path)
    assert done.returncode == 1
    assert 'unknown input "generatr"' in done.stderr
