"""What `render-config` writes: reviewed golden files, and the facts that must hold for any settings.

The golden files are in `golden/native` and `golden/logstash`. They are changed on purpose only:
`UPDATE_GOLDEN=1 pytest tests/render` writes them anew, and the difference is read before it is committed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cht_sync import render
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.pipeline import sources
from cht_sync.pipeline.config import parse
from cht_sync.pipeline.config.tree import Plugin
from cht_sync.settings import Settings, declared, load

CHECKOUT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).parent / "golden"
OPTIONS = CHECKOUT.parent / "shared" / "logstash"
DATABASES = "medic medic-sentinel a/b+c$(d)"
ENGINES = ("native", "logstash")
SECRETS = {name: f"hidden-{name.lower()}-{'x' * 32}" for name, variable in declared() if variable.secret}


def settings(**given: str) -> Settings:
    environ = {**SECRETS, "COUCHDB_HOST": "couchdb.example.org", "COUCHDB_DBS": DATABASES, **given}
    return load(Environment.LOCAL, home=Path("nowhere"), environ=environ)


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def running_environment() -> dict[str, str]:
    """What the variables of the rendered files need to be set to."""
    return {
        "COUCHDB_HOST": "couchdb.example.org",
        "COUCHDB_PORT": "5984",
        "COUCHDB_USER": "reader",
        "COUCHDB_PASSWORD": SECRETS["COUCHDB_PASSWORD"],
        "HTTP_ENDPOINT": "postgrest:3000",
        "PGRST_JWT_SECRET": SECRETS["PGRST_JWT_SECRET"],
        "POSTGREST_TOKEN": "token",
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_files_are_the_golden_ones(engine: str) -> None:
    files = render.render(settings(), engine=engine)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        render.write(files, GOLDEN / engine)
    assert files == files_of(GOLDEN / engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("secure", ["true", "false"])
def test_no_secret_is_ever_in_a_file(engine: str, secure: str) -> None:
    text = "\n".join(render.render(settings(COUCHDB_SECURE=secure), engine=engine).values())
    assert "hidden" not in text
    assert 'password => "${COUCHDB_PASSWORD}"' in text


@pytest.mark.parametrize("engine", ENGINES)
def test_each_database_has_one_pipeline_and_a_position_of_its_own(engine: str) -> None:
    files = render.render(settings(), engine=engine)
    listed = yaml.safe_load(files["pipelines.yml"])
    assert [entry["pipeline.id"] for entry in listed] == DATABASES.split()
    assert [entry["pipeline.workers"] for entry in listed] == [1, 1, 1]
    configured = [entry["path.config"] for entry in listed]
    assert set(configured) == {name for name in files if name.endswith(".conf")}
    assert len(set(configured)) == len(configured)
    positions = [
        found for name in configured for found in re.findall(r'sequence_path => "(.*)"', files[name])
    ]
    assert len(positions) == len(set(positions)) == len(configured)


@pytest.mark.parametrize("engine", ENGINES)
def test_names_that_differ_in_special_characters_never_share_a_position(engine: str) -> None:
    names = ["a/b", "a_b", "a-b", "a+b", "a$b", "a(b", "a)b", "ab"]
    files = render.render(settings(COUCHDB_DBS=" ".join(names)), engine=engine)
    positions = re.findall(r'sequence_path => "(.*)"', "\n".join(files.values()))
    assert len({position.lower() for position in positions}) == len(names)
    assert all("/" not in position.removeprefix("data/") for position in positions)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_heartbeat_is_never_switched_off(engine: str) -> None:
    for text in render.render(settings(), engine=engine).values():
        assert not re.search(r"^\s*timeout\s*=>", text, re.MULTILINE)
        assert ("couchdb_changes" in text) == ("heartbeat => " in text)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("given", [{}, {"COUCHDB_SECURE": "true", "COUCHDB_PATH": "/couch%20db/x"}])
def test_our_own_engine_accepts_the_files(engine: str, given: dict[str, str], tmp_path: Path) -> None:
    render.write(render.render(settings(**given), engine=engine), tmp_path)
    pipelines = sources.load_all(
        sources.from_settings_folder(tmp_path), running_environment(), tmp_path / "data"
    )
    assert [pipeline.id for pipeline in pipelines] == DATABASES.split()


def test_a_database_without_a_position_can_begin_now_with_our_engine_only(tmp_path: Path) -> None:
    files = render.render(settings(COUCHDB_SEQ="now"), engine="native")
    assert 'initial_sequence => "now"' in files["pipeline/medic.conf"]
    render.write(files, tmp_path)
    sources.load_all(sources.from_settings_folder(tmp_path), running_environment(), tmp_path / "data")
    with pytest.raises(SettingsError, match="COUCHDB_SEQ=now is not possible with PIPELINE_ENGINE=logstash"):
        render.render(settings(COUCHDB_SEQ="now"), engine="logstash")


def plugins_of(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each plugin of a configuration with the names of its options."""
    configuration = parse(text, env=running_environment())
    waiting = [*configuration.inputs, *configuration.filters, *configuration.outputs]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, Plugin):
            yield one.name, set(one.settings)
        else:
            waiting += [plugin for _condition, body in one.cases for plugin in body] + [
                *(one.otherwise or ())
            ]


def known_options(plugin: str) -> set[str]:
    recorded = {"couchdb_changes": "couchdb_changes.json", "http": "http_output.json"}
    if plugin in recorded:
        path = OPTIONS / recorded[plugin]
        if not path.exists():
            pytest.skip(f"{path.name} with the options of Logstash's plugin is not beside the checkout")
        return {one["name"] for one in json.loads(path.read_text())["options"]}
    # Elastic's documentation of the filter plugins, with the options common to all filters.
    common = {"add_field", "add_tag", "enable_metric", "id", "periodic_flush", "remove_field", "remove_tag"}
    own = {
        "json": {"ecs_compatibility", "skip_on_invalid_json", "source", "tag_on_failure", "target"},
        "mutate": {"convert", "copy", "gsub", "join", "lowercase", "merge", "coerce", "rename", "replace"}
        | {"split", "strip", "update", "uppercase", "capitalize", "tag_on_failure"},
    }
    return common | own[plugin]


def test_the_files_for_logstash_use_its_own_options_only() -> None:
    files = render.render(settings(), engine="logstash")
    used = [one for name, text in files.items() if name.endswith(".conf") for one in plugins_of(text)]
    assert {plugin for plugin, _options in used} == {"couchdb_changes", "json", "mutate", "http"}
    for plugin, options in used:
        assert options <= known_options(plugin), plugin


def test_the_files_for_our_engine_say_where_they_leave_logstash() -> None:
    text = render.render(settings(COUCHDB_SEQ="now"), engine="native")["pipeline/medic.conf"]
    common, *own = text.split("# What follows is understood by cht-sync's engine only.")
    of_ours = {
        found
        for part in own
        for found in re.findall(r"^ {4}(\w+) =>", part.split("\n  }\n")[0], re.MULTILINE)
    }
    unknown = {option for plugin, options in plugins_of(text) for option in options - known_options(plugin)}
    assert unknown <= of_ours
    assert "position_headers" in unknown
    assert "sequence_path" in common


def test_what_is_up_to_date_has_no_differences(tmp_path: Path) -> None:
    files = render.render(settings(), engine="native")
    render.write(files, tmp_path)
    assert render.differences(files, tmp_path) == []


def test_missing_stale_and_left_over_files_are_named(tmp_path: Path) -> None:
    files = render.render(settings(), engine="native")
    assert render.differences(files, tmp_path / "none") == sorted(files)
    render.write(files, tmp_path)
    (tmp_path / "pipelines.yml").write_bytes(b"\xff")
    (tmp_path / "pipeline" / "medic.conf").unlink()
    (tmp_path / "pipeline" / "gone.conf").write_text("")
    assert render.differences(files, tmp_path) == [
        "pipeline/gone.conf",
        "pipeline/medic.conf",
        "pipelines.yml",
    ]


def test_the_pipeline_of_a_database_that_is_gone_is_removed(tmp_path: Path) -> None:
    render.write(render.render(settings(), engine="native"), tmp_path)
    fewer = render.render(settings(COUCHDB_DBS="medic"), engine="native")
    render.write(fewer, tmp_path)
    assert files_of(tmp_path) == fewer


def test_the_files_are_readable_by_a_container_of_another_user(tmp_path: Path) -> None:
    render.write(render.render(settings(), engine="native"), tmp_path)
    assert (tmp_path / "pipelines.yml").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ChtSyncError, match=r"file cannot be written: "):
        render.write(render.render(settings(), engine="native"), tmp_path / "file")
