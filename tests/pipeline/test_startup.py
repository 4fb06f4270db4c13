"""What flags, logstash.yml and pipelines.yml say together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cht_sync.errors import ChtSyncError, ConfigError
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.engine_settings import SETTINGS
from cht_sync.pipeline.logstash_settings import ABSENT, ABSENT_LISTED, REFUSED
from cht_sync.pipeline.sources import PipelineSource
from cht_sync.pipeline.startup import Startup, prepare

CONFIG = "input { generator { count => 1 } } output { null { } }"
Prepare = Callable[..., Startup]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.conf").write_text(CONFIG)
    (tmp_path / "pipelines.yml").write_text("- {pipeline.id: one, path.config: one.conf}")
    return tmp_path


@pytest.fixture
def settings(folder: Path) -> Prepare:
    """Prepare with the text of logstash.yml, and flags."""

    def made(
        text: str, flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> Startup:
        (folder / "logstash.yml").write_text(text)
        return prepare(flags or {}, env or {}, folder)

    return made


def only(startup: Startup) -> PipelineSource:
    (source,) = startup.find()
    return source


@pytest.mark.parametrize(
    "text",
    [
        "pipeline.batch.size: 7\npipeline.batch.delay: 0",
        "pipeline:\n  batch:\n    size: 7\n    delay: 0",
        "pipeline:\n  batch.size: 7\n  batch: {delay: '0'}",
        "pipeline.batch:\n  size: ${SIZE}\n  delay: ${DELAY:0}",
    ],
)
def test_nested_and_dotted_keys_and_variables_say_the_same(settings: Prepare, text: str) -> None:
    own = only(settings(text, env={"SIZE": "7"})).settings
    assert (own.batch_size, own.batch_delay) == (7, 0)


def test_a_flag_is_stronger_than_the_file_and_a_pipeline_is_stronger_than_both(
    folder: Path, settings: Prepare
) -> None:
    text = "pipeline.workers: 2\npipeline.batch.size: 20"
    assert only(settings(text, {"pipeline.workers": "3"})).settings.workers == 3
    assert only(settings(text, {"pipeline.workers": "3"})).settings.batch_size == 20
    (folder / "pipelines.yml").write_text("- {pipeline: {id: one, workers: 4}, path.config: one.conf}")
    assert only(settings(text, {"pipeline.workers": "3"})).settings.workers == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pipeline.workrs: 1", r'logstash\.yml:1:1: .*"pipeline.workrs" is not known.*"pipeline.workers"'),
        ("a: 1\npipeline:\n  batch: {sise: 1}", r'logstash\.yml:3:11: .*"pipeline.batch.sise"'),
        ("log.level: info\nlog: {level: debug}", r'logstash\.yml:2:7: .*"log.level" is there twice'),
        ("pipeline.batch.size: 0", "from 1 on"),
        ("pipeline.batch.size: many", "whole number"),
        ("pipeline.batch.size: true", "whole number"),
        ("pipeline.workers: -1", "whole number"),
        ("config.reload.interval: 3", "with its unit"),
        ("config.reload.interval: 0s", "longer than nothing"),
        ("config.reload.interval: soon", "no duration"),
        ("log.level: loud", "one of fatal"),
        ("log.format: xml", "plain, json"),
        ("api.http.port: 9700-9600", "no range of ports"),
        ("api.enabled: maybe", "true or false"),
        ("node.name: 5", "expected a text"),
        ("pipeline.ordered: sometimes", "auto, true, false"),
        ("pipeline.ecs_compatibility: v2", "disabled, v1, v8"),
        ("pipeline.ecs_compatibility: ${NOWHERE}", "NOWHERE"),
        ("api.auth.type: basic", "no login"),
        ("api.ssl.enabled: true", "no https"),
        ("config.field_reference.escape_style: percent", "cannot be escaped"),
        ("- a", "must be a map"),
        ("a: [", "no YAML"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(settings: Prepare, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings(text)


def test_all_problems_of_the_settings_are_told_at_once(settings: Prepare) -> None:
    with pytest.raises(ConfigError) as refusal:
        settings("log.level: loud\nnode.nam: a", {"pipeline.batch.size": "x"})
    assert [str(one).split(":")[0].rsplit("/")[-1] for one in str(refusal.value).splitlines()] == [
        "command line",
        "logstash.yml",
        "logstash.yml",
    ]


def test_problems_of_all_pipelines_of_the_list_are_told_at_once(folder: Path, settings: Prepare) -> None:
    (folder / "pipelines.yml").write_text(
        """
- {pipeline.id: one, path.config: one.conf, queue.tipe: memory}
- {pipeline.id: two, path.config: one.conf, api.enabled: false}
- {pipeline.id: three, path.config: one.conf, config.string: text}
- {pipeline.id: four, path.config: one.conf, pipeline.ordered: true, pipeline.workers: 2}
- {pipeline.id: four, path.config: one.conf}
- {pipeline.id: four, path.config: one.conf}
"""
    )
    with pytest.raises(ConfigError) as refusal:
        settings("").find()
    lines = str(refusal.value).splitlines()
    assert [line.split("pipelines.yml:")[1].split(":")[0] for line in lines] == ["2", "3", "4", "5", "7"]
    assert 'did you mean "queue.type"?' in lines[0]
    assert "one of logstash.yml" in lines[1]
    assert "both path.config and config.string" in lines[2]
    assert "needs pipeline.workers: 1, and there are 2" in lines[3]
    assert '"four" is there twice (line 6 has it too)' in lines[4]


def test_settings_without_effect_are_named_in_one_warning(
    folder: Path, settings: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "pipelines.yml").write_text(
        "- {pipeline.id: one, path.config: one.conf, queue: {type: persisted, drain: true}}"
    )
    text = "xpack.monitoring.enabled: true\ndead_letter_queue.enable: true\npipeline.workers: 1"
    startup = settings(text, {"queue.max_bytes": "1gb"})
    startup.warn(startup.find())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "settings of Logstash that have no effect here: dead_letter_queue.enable, queue.drain, "
        "queue.max_bytes, queue.type, xpack.monitoring.enabled"
    )


def test_more_than_one_worker_is_said_to_have_no_effect_in_one_line(
    folder: Path, settings: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "pipelines.yml").write_text(
        "- {pipeline.id: one, path.config: one.conf}\n"
        "- {pipeline.id: two, path.config: one.conf, pipeline.workers: 8}\n"
        "- {pipeline.id: three, path.config: one.conf, pipeline.workers: 1}\n"
    )
    startup = settings("", {"pipeline.workers": "4"})
    startup.warn(startup.find())
    (record,) = caplog.records
    assert record.getMessage() == (
        "pipeline.workers has no effect here (one: 4, two: 8): what each input reads goes through the "
        "filters in one thread, in order"
    )


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_every_setting_of_logstash_without_effect_is_accepted(settings: Prepare, name: str) -> None:
    assert settings(f"{name}: 1").settings.absent == {name}


@pytest.mark.parametrize(
    ("text", "size"), [("100b", 100), ("2 KB", 2048), ("1024mb", 1 << 30), ("3gb", 3 << 30)]
)
def test_the_size_of_the_dead_letters_has_a_unit(settings: Prepare, text: str, size: int) -> None:
    assert only(settings(f"dead_letter_queue.max_bytes: {text}")).settings.dead_letter_bytes == size
    with pytest.raises(ConfigError, match="expected a size with its unit, as 1024mb, got 5"):
        settings("dead_letter_queue.max_bytes: 5")


def test_no_setting_is_both_known_and_without_effect() -> None:
    assert not ABSENT & {*SETTINGS, *REFUSED}
    assert ABSENT_LISTED < ABSENT


@pytest.mark.parametrize(
    "text", ["api.auth.type: none", "api.ssl.enabled: false", "config.field_reference.escape_style: none"]
)
def test_refused_settings_that_ask_for_nothing_are_accepted(settings: Prepare, text: str) -> None:
    assert settings(text).settings.absent == frozenset()


def test_a_configuration_that_is_named_is_stronger_than_the_list_which_is_said(
    folder: Path, settings: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    startup = settings("", {"path.config": [str(folder / "one.conf")], "pipeline.id": "mine"})
    source = only(startup)
    assert (source.id, source.config) == ("mine", (folder / "one.conf",))
    startup.warn([source])
    assert "pipelines.yml is ignored" in caplog.text


def test_a_configuration_of_logstash_yml_counts_too_and_gives_way_to_a_flag(
    folder: Path, settings: Prepare
) -> None:
    assert only(settings("path.config: one.conf")).config == (folder / "one.conf",)
    other = only(settings("path.config: one.conf", {"config.string": CONFIG}))
    assert other.config == CONFIG


def test_a_text_without_input_or_output_reads_and_prints() -> None:
    config = str(only(prepare({"config.string": "filter { drop { } }"}, {})).config)
    assert "stdin" in config
    assert "rubydebug" in config
    assert only(prepare({"config.string": CONFIG}, {})).config == CONFIG


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"path.config": ["a"], "config.string": "b"}, "not from both"),
        ({"config.string": CONFIG, "config.reload.automatic": True}, "needs files"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(ChtSyncError, match=says):
        prepare(flags, {})


def test_paths_of_the_files_start_at_their_folder(folder: Path, settings: Prepare) -> None:
    startup = settings("path: {data: elsewhere, dead_letter_queue: letters}")
    assert startup.data_folder == folder / "elsewhere"
    assert only(startup).settings.dead_letter_folder == folder / "letters"
    assert settings("").data_folder == folder / "data"
    assert settings("", {"path.data": "mine"}).data_folder == Path("mine")


def test_dead_letters_go_where_the_settings_say(folder: Path, settings: Prepare) -> None:
    (folder / "one.conf").write_text(
        f'input {{ file {{ path => "{folder}/in" mode => read codec => json }} }} output {{ null {{ }} }}'
    )
    startup = settings("path.dead_letter_queue: letters")
    (named,) = startup.loader.load_all(startup.find())
    named.dead_letters.append([Rejected("a", None, None, "code", "reason")])
    assert (folder / "letters" / "one.jsonl").exists()


def test_settings_reach_the_plugins(folder: Path, settings: Prepare) -> None:
    (folder / "one.conf").write_text(
        r"""input { generator { count => 3 } }
            filter { mutate { add_field => { "a" => "x\ty" } } } output { null { } }"""
    )
    startup = settings("config.support_escapes: true\npipeline.ecs_compatibility: disabled")
    (named,) = startup.loader.load_all(startup.find())
    (source,) = named.pipeline.inputs
    source.start(None, threading.Event())
    batch = source.read(threading.Event(), 0.0)
    assert batch is not None
    (first, *_rest) = named.pipeline.filter(batch.events)
    assert first.get("a") == "x\ty"
    assert first.get("sequence") == 0


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        prepare({}, {}, tmp_path / "nowhere")
