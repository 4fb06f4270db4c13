"""A changed configuration takes over where the old one has ended; a broken one changes nothing."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline.engine_runs import json_lines
from pipeline.reloading_engine import ReloadingEngine
from waiting import eventually

from cht_sync.pipeline import reload, running, startup
from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, register_filter
from cht_sync.pipeline.reload import Reloading
from cht_sync.pipeline.running import RunningPipeline
from cht_sync.pipeline.startup import prepare

LINES = 20_000


@register_filter("test_faulty", FilterOptions)
def build(_options: FilterOptions, _context: PluginContext) -> Filter:
    raise ZeroDivisionError("a secret")


ENDLESS = 'input { generator { id => "endless" } } filter { drop { } } output { null { } }'


def entries(*names: str, more: str = "") -> str:
    return "".join(f"- pipeline.id: {name}\n  path.config: {name}.conf\n{more}" for name in names)


Start = Callable[..., ReloadingEngine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start with configurations by name; what still runs at the end is stopped."""
    started: list[ReloadingEngine] = []

    def make(*, interval: float | None = None, more: str = "", **configs: str) -> ReloadingEngine:
        for name, text in configs.items():
            (tmp_path / f"{name}.conf").write_text(text)
        one = ReloadingEngine(tmp_path, entries(*configs, more=more), interval=interval)
        started.append(one)
        return one

    yield make
    for one in started:
        if one.is_running():
            one.stop()


def replaying(folder: Path, version: int) -> str:
    return f"""
        input {{ file {{ path => "{folder}/lines.json" mode => "read" codec => "json" batch_size => 10
                         file_completed_action => "log" file_completed_log_path => "{folder}/done.log" }} }}
        filter {{ mutate {{ add_field => {{ "version" => "{version}" }} }} }}
        output {{ file {{ path => "{folder}/out.json" codec => json_lines }} }}
    """


def test_over_reloads_every_event_is_delivered_once_and_in_order(tmp_path: Path, start: Start) -> None:
    (tmp_path / "lines.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(LINES)))
    out = tmp_path / "out.json"
    engine = start(main=replaying(tmp_path, 0))
    for version in range(1, 6):
        size = out.stat().st_size if out.exists() else 0
        eventually(lambda size=size: out.exists() and out.stat().st_size > size)  # type: ignore[misc]
        engine.write("main.conf", replaying(tmp_path, version))
        engine.ask()
        eventually(lambda version=version: engine.registry.reloads.successes == version)  # type: ignore[misc]
    eventually(lambda: out.read_bytes().count(b"\n") >= LINES)
    engine.stop()
    written = json_lines(out)
    assert [line["n"] for line in written] == list(range(LINES))
    versions = [line["version"] for line in written]
    assert versions == sorted(versions)
    assert len(set(versions)) > 2


def test_only_what_has_changed_is_replaced(start: Start) -> None:
    engine = start(one=ENDLESS, other=ENDLESS)
    before = engine.ids()
    engine.write("one.conf", ENDLESS.replace("drop { }", 'mutate { add_field => { "a" => "b" } }'))
    engine.ask()
    eventually(lambda: engine.ids()["one"] != before["one"])
    assert engine.ids()["other"] == before["other"]
    assert {one.id: one.reloads.successes for one in engine.registry.pipelines()} == {"one": 1, "other": 0}


def test_settings_of_a_pipeline_are_part_of_its_configuration(start: Start) -> None:
    engine = start(one=ENDLESS, other=ENDLESS)
    before = engine.ids()
    engine.write("pipelines.yml", entries("one", more="  pipeline.batch.size: 7\n") + entries("other"))
    engine.ask()
    eventually(lambda: engine.ids()["one"] != before["one"])
    assert engine.ids()["other"] == before["other"]
    assert engine.registry.pipelines()[0].batch_size == 7


def test_a_pipeline_that_is_listed_now_is_started_and_one_that_is_not_is_stopped(start: Start) -> None:
    engine = start(one=ENDLESS, other=ENDLESS)
    before = engine.ids()
    gone = engine.registry.pipelines()[0]
    engine.write("new.conf", ENDLESS)
    engine.write("pipelines.yml", entries("other", "new"))
    engine.ask()
    eventually(lambda: set(engine.ids()) == {"other", "new"})
    assert engine.ids()["other"] == before["other"]
    eventually(lambda: engine.registry.pipelines()[0].state == "running")
    count = gone.totals().events_in
    eventually(lambda: engine.registry.pipelines()[0].totals().events_in > 5000)
    assert gone.totals().events_in == count
    assert gone.state == "finished"


BROKEN = {
    "syntax": ('input { generator { } }\nfilter { mutate { add_field => } }', "one.conf:2:"),
    "plugin": ("input { generator { } }\noutput { htpp { } }", 'one.conf:2:10: unknown output "htpp"'),
    "variable": (
        'input { generator { } }\nfilter { mutate { add_field => { "a" => "${NOPE}" } } }',
        "one.conf:2:41: Cannot evaluate `${NOPE}`",
    ),
    "fault": ("input { generator { } }\nfilter { test_faulty { } }", "ZeroDivisionError at test_reload.py"),
    "position": (
        "input { couchdb_changes { db => medic sequence_store => postgrest } } output { null { } }",
        "position_headers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_configuration_leaves_the_old_one_at_work_and_says_where(
    start: Start, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    text, says = BROKEN[broken]
    engine = start(one=ENDLESS)
    before = engine.ids()
    engine.write("one.conf", text)
    engine.ask()
    eventually(lambda: engine.registry.reloads.failures == 1)
    assert engine.ids() == before
    count = engine.registry.pipelines()[0].totals().events_in
    eventually(lambda: engine.registry.pipelines()[0].totals().events_in > count)
    (pipeline,) = engine.registry.pipelines()
    assert (pipeline.reloads.failures, pipeline.reloads.successes) == (1, 0)
    assert says in str(pipeline.reloads.last_error)
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said.startswith("pipeline one was not reloaded; it goes on as it is: ")
    assert says in said
    assert "a secret" not in said


@pytest.mark.parametrize("error", [OSError(13, "Permission denied", "conf.d"), LookupError("a secret")])
def test_whatever_looking_for_the_configuration_raises_the_pipelines_go_on(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def find(_folder: Path, *_arguments: object) -> None:
        raise error

    engine = start(one=ENDLESS)
    before = engine.ids()
    monkeypatch.setattr(startup, "from_settings_folder", find)
    engine.ask()
    eventually(lambda: engine.registry.reloads.failures == 1)
    assert engine.ids() == before
    count = engine.registry.pipelines()[0].totals().events_in
    eventually(lambda: engine.registry.pipelines()[0].totals().events_in > count)
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "conf.d: Permission denied" in said or "LookupError at test_reload.py:" in said
    assert "a secret" not in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- [", "no YAML"),
        ("", "must be a list"),
        (entries("one", "one"), "twice"),
        ("- {pipeline.id: one, path.konfig: one.conf}", "path.konfig"),
    ],
)
def test_a_broken_list_changes_nothing(
    start: Start, caplog: pytest.LogCaptureFixture, text: str, says: str
) -> None:
    engine = start(one=ENDLESS)
    before = engine.ids()
    engine.write("pipelines.yml", text)
    engine.ask()
    eventually(lambda: engine.registry.reloads.failures == 1)
    assert engine.ids() == before
    assert "pipelines.yml" in caplog.text
    assert says in caplog.text


def test_pipelines_that_would_wait_for_themselves_are_not_taken_over(start: Start) -> None:
    engine = start(one=ENDLESS)
    before = engine.ids()
    engine.write("one.conf", "input { pipeline { address => aa } } output { pipeline { send_to => aa } }")
    engine.ask()
    eventually(lambda: engine.registry.reloads.failures == 1)
    assert engine.ids() == before
    assert "sends to itself" in str(engine.registry.reloads.last_error)


def test_a_pipeline_that_must_not_be_reloaded_is_left_alone(start: Start) -> None:
    engine = start(one=ENDLESS, more="  pipeline.reloadable: false\n")
    before = engine.ids()
    engine.write("one.conf", ENDLESS + " ")
    engine.ask()
    eventually(lambda: engine.registry.reloads.failures == 1)
    assert engine.ids() == before


def test_it_looks_by_itself_and_says_once_what_is_broken(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start(one=ENDLESS, other=ENDLESS, interval=0.01)
    before = engine.ids()
    engine.write("one.conf", "input {")
    eventually(lambda: engine.registry.reloads.failures == 1)
    engine.write("other.conf", ENDLESS + " ")
    eventually(lambda: engine.ids()["other"] != before["other"])
    assert engine.ids()["one"] == before["one"]
    assert engine.registry.reloads.failures == 1
    engine.write("one.conf", ENDLESS + " ")
    eventually(lambda: engine.ids()["one"] != before["one"])
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_by_itself_it_does_not_read_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.conf").write_text(ENDLESS)
    startup = prepare({"path.config": str(tmp_path / "one.conf")}, {})
    reloading = Reloading(startup.find, startup.loader, Registry(), threading.Event(), 0.0)

    def make(named: NamedPipeline) -> RunningPipeline:
        return RunningPipeline(named, threading.Event())

    monkeypatch.setattr(reload, "SETTLED", 3600.0)
    assert reloading.look({}, make) is None
    monkeypatch.setattr(reload, "SETTLED", 0.0)
    change = reloading.look({}, make)
    assert change is not None
    assert [one.named.id for one in change.coming] == ["main"]


def test_with_looking_by_itself_the_process_goes_on_when_all_pipelines_have_ended(
    start: Start, tmp_path: Path
) -> None:
    once = f'input {{ generator {{ count => 1 }} }} output {{ file {{ path => "{tmp_path}/out" }} }}'
    engine = start(one=once, interval=0.01)
    eventually(lambda: (tmp_path / "out").exists() and engine.registry.pipelines()[0].state == "finished")
    engine.write("one.conf", once.replace("count => 1", 'count => 1 message => "again"'))
    eventually(lambda: "again" in (tmp_path / "out").read_text())
    assert engine.is_running()


def test_without_that_it_ends(start: Start) -> None:
    start(one="input { generator { count => 1 } } output { null { } }").wait()


def test_a_pipeline_that_has_failed_is_started_again_when_asked_and_at_once_when_it_is_changed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "FIRST_PAUSE", 3600.0)
    archive = tmp_path / "lines.json.gz"
    archive.write_bytes(b"broken")
    failing = f"""
        input {{ file {{ path => "{tmp_path}/*.gz" mode => read exit_after_read => true
                         check_archive_validity => true codec => json }} }}
        output {{ file {{ path => "{tmp_path}/out.json" codec => json_lines }} }}
    """
    engine = start(failing=failing, other=ENDLESS)

    def state() -> str:
        return engine.registry.pipelines()[0].state

    eventually(lambda: state() == "terminated")
    before = engine.ids()
    engine.ask()  # still broken
    eventually(lambda: engine.ids()["failing"] != before["failing"] and state() == "terminated")
    engine.write("failing.conf", failing + " ")
    before = engine.ids()
    engine.ask()
    eventually(lambda: engine.ids()["failing"] != before["failing"] and state() == "terminated")
    archive.write_bytes(gzip.compress(b'{"n":1}\n'))
    engine.ask()
    eventually(lambda: state() == "finished")
    assert [line["n"] for line in json_lines(tmp_path / "out.json")] == [1]
    assert engine.ids()["other"] == before["other"]


def test_a_reload_that_changes_nothing_touches_nothing(start: Start) -> None:
    engine = start(one=ENDLESS)
    before = engine.ids()
    engine.ask()
    engine.ask()
    assert engine.ids() == before
    assert json.dumps([engine.registry.reloads.successes, engine.registry.reloads.failures]) == "[0, 0]"


def test_what_was_sent_to_a_pipeline_that_is_reloaded_is_delivered_by_the_next(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lines.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(5_000)))
    sender = replaying(tmp_path, 0)
    sender = sender[: sender.index("output")] + "output { pipeline { send_to => there } }"
    receiver = f"""
        input {{ pipeline {{ address => there }} }}
        output {{ file {{ path => "{tmp_path}/out.json" codec => json_lines }} }}
    """
    engine = start(receiver=receiver, sender=sender)
    out = tmp_path / "out.json"
    for times in range(1, 4):
        size = out.stat().st_size if out.exists() else 0
        eventually(lambda size=size: out.exists() and out.stat().st_size > size)  # type: ignore[misc]
        engine.write("receiver.conf", receiver + " " * times)
        engine.ask()
        eventually(lambda times=times: engine.registry.reloads.successes == times)  # type: ignore[misc]
    eventually(lambda: out.read_bytes().count(b"\n") >= 5_000)
    engine.stop()
    assert [line["n"] for line in json_lines(out)] == list(range(5_000))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
