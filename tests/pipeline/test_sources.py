"""Where configurations come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync.errors import ConfigError
from cht_sync.pipeline.sources import PipelineSource, from_paths, from_settings_folder, load_all

CONFIG = "input { couchdb_changes { db => medic } } output { stdout { } }"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline").mkdir()
    for name in ("b.conf", "a.conf", "a.conf~", ".b.conf.swp", ".hidden.conf"):
        (tmp_path / "pipeline" / name).write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    "pattern", ["pipeline", "pipeline/", "pipeline/*", "pipeline/*.conf", "pipeline/[ab].conf*"]
)
def test_a_folder_or_a_glob_is_one_pipeline_of_its_files_in_order(folder: Path, pattern: str) -> None:
    source = from_paths([str(folder / pattern)])
    assert source == PipelineSource("main", (folder / "pipeline" / "a.conf", folder / "pipeline" / "b.conf"))


def test_a_file_that_begins_with_a_dot_is_taken_where_it_is_named(folder: Path) -> None:
    hidden = folder / "pipeline" / ".hidden.conf"
    assert from_paths([str(hidden)]).config == (hidden,)


def test_files_are_taken_in_the_order_in_which_they_are_named(folder: Path) -> None:
    names = [str(folder / "pipeline" / name) for name in ("b.conf", "a.conf")]
    assert [str(path) for path in from_paths(names).config] == names


def test_a_path_that_names_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.conf.*no configuration"):
        from_paths([str(folder / "pipeline"), str(folder / "nothing.conf")])


def listed(folder: Path, text: str) -> list[PipelineSource]:
    (folder / "pipelines.yml").write_text(text)
    return from_settings_folder(folder)


def test_pipelines_are_listed_with_paths_from_the_folder_or_texts(folder: Path) -> None:
    sources = listed(
        folder,
        f"""
- pipeline.id: medic
  path.config: pipeline/a.conf
  pipeline.workers: 1
  pipeline.ordered: true
- pipeline.id: text
  config.string: "{CONFIG}"
""",
    )
    assert sources == [
        PipelineSource("medic", (folder / "pipeline" / "a.conf",)),
        PipelineSource("text", CONFIG),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a list"),
        ("pipeline.id: medic", "must be a list"),
        ("[]", "must be a list"),
        ("- [", "no YAML"),
        ("- medic", "needs a pipeline.id"),
        ("- path.config: pipeline/a.conf", "needs a pipeline.id"),
        ("- pipeline.id: 5\n  path.config: pipeline/a.conf", "needs a pipeline.id"),
        ("- pipeline.id: a", "no path.config"),
        ("- pipeline.id: a\n  path.config: missing/*.conf", "no configuration found"),
        ("- pipeline.id: a\n  path.konfig: pipeline/a.conf", "path.konfig"),
        (
            "- {pipeline.id: a, config.string: x}\n- {pipeline.id: a, config.string: y}",
            "twice",
        ),
    ],
)
def test_a_list_that_cannot_be_used_says_what_is_wrong(folder: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        listed(folder, text)


def test_a_list_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "pipelines.yml").write_bytes(b"\xff\xfe- a")
    with pytest.raises(ConfigError, match=r"pipelines\.yml"):
        from_settings_folder(folder)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pipelines\.yml.*cannot be read"):
        from_settings_folder(tmp_path)


def test_the_problems_of_all_pipelines_are_told_at_once(tmp_path: Path) -> None:
    sources = [
        PipelineSource(name, f"input {{ {name} {{}} }} output {{ stdout {{}} }}") for name in ("one", "two")
    ]
    with pytest.raises(ConfigError) as refusal:
        load_all(sources, {}, tmp_path)
    assert "one" in str(refusal.value)
    assert "two" in str(refusal.value)


def test_pipelines_are_built_under_their_ids(tmp_path: Path) -> None:
    other = CONFIG.replace("db => medic", 'db => medic sequence_path => "b"')
    built = load_all([PipelineSource("a", CONFIG), PipelineSource("b", other)], {}, tmp_path)
    assert [named.id for named in built] == ["a", "b"]
    assert all(named.pipeline.inputs and named.pipeline.outputs for named in built)


SAME_FILE = """
input {{
  couchdb_changes {{ db => "medic" {first} }}
  couchdb_changes {{ db => "other" {second} }}
}}
output {{ stdout {{ }} }}
"""


@pytest.mark.parametrize("where", ["", 'sequence_path => "data/seq"'])
def test_two_inputs_that_would_keep_their_positions_in_one_file_are_refused(
    tmp_path: Path, where: str
) -> None:
    source = PipelineSource("both", SAME_FILE.format(first=where, second=where))
    with pytest.raises(ConfigError, match=r"of localhost/medic \(pipeline both\) and localhost/other"):
        load_all([source], {}, tmp_path)


def test_inputs_that_keep_their_positions_in_files_of_their_own_are_accepted(tmp_path: Path) -> None:
    config = SAME_FILE.format(first='sequence_path => "a"', second='sequence_path => "b"')
    assert len(load_all([PipelineSource("both", config)], {}, tmp_path)) == 1
