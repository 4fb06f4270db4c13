"""A folder that cannot keep dead letters is told before anything is read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cht_sync.cli import main
from cht_sync.errors import ConfigError
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.folder import problems_with
from cht_sync.pipeline.sources import PipelineSettings, PipelineSource, load_all

CONFIG = "input { generator { count => 1 } } output { stdout { } }"


def problem(data: Path, folder: Path | None = None) -> str:
    (found,) = problems_with(data, folder, "medic")
    return str(found)


def test_nothing_is_said_of_a_folder_that_works_and_nothing_is_left_there(tmp_path: Path) -> None:
    data = tmp_path / "not" / "yet" / "there"
    assert problems_with(data, None, "medic") == []
    assert list(tmp_path.iterdir()) == []
    DeadLetterFile(data, "medic").append_copies({})
    (data / "dead_letter_queue").mkdir(parents=True)
    (data / "dead_letter_queue" / "medic.jsonl").write_text("{}\n")
    assert problems_with(data, None, "medic") == []
    assert (data / "dead_letter_queue" / "medic.jsonl").read_text() == "{}\n"


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        text = problem(tmp_path, folder)
        assert text.startswith("pipeline medic: path.dead_letter_queue: dead letters cannot be kept: ")
        assert str(folder) in text


def test_a_parent_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    assert "pipeline medic: path.data:" in problem(Path("/proc/nowhere/data"))
    assert "path.dead_letter_queue" in problem(tmp_path, Path("/proc/nowhere"))


@pytest.mark.parametrize("name", ["medic.jsonl", ".medic.jsonl.lock"])
def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert f"{tmp_path / name}: is no plain file" in problem(tmp_path, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("closed", ["folder", "file", "lock"])
def test_what_may_not_be_written_is_told(closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "queue"
        folder.mkdir()
        folder.chmod(0o777)
        paths = {
            "folder": folder,
            "file": folder / "medic.jsonl",
            "lock": folder / ".medic.jsonl.lock",
        }
        for one in ("file", "lock"):
            paths[one].touch()
            paths[one].chmod(0o666)
        paths[closed].chmod(0o555)
        text = _as_somebody_else(lambda: problem(folder.parent, folder))
        assert text.endswith(f"dead letters cannot be kept: {paths[closed]}: Permission denied")


def _as_somebody_else(work: Callable[[], str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(12345)
            os.setuid(12345)
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def test_all_pipelines_and_all_other_problems_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = PipelineSettings(dead_letter_folder=tmp_path / "file")
    sources = [
        PipelineSource("one", CONFIG, settings),
        PipelineSource("two", "input { generator { cuont => 1 } } output { stdout { } }", settings),
    ]
    with pytest.raises(ConfigError) as error:
        load_all(sources, {}, tmp_path)
    text = str(error.value)
    assert "pipeline one: path.dead_letter_queue" in text
    assert "pipeline two: path.dead_letter_queue" in text
    assert "cuont" in text
    assert "Name a folder that can be written with --path.dead_letter_queue" in text


@pytest.mark.parametrize("more", [[], ["-t"]])
def test_the_command_line_ends_before_anything_is_read(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "file").write_text("")
    words = ["--path.data", tmp_path / "data", "--path.dead_letter_queue", tmp_path / "file", *more]
    answer = CliRunner().invoke(main, ["pipeline", "run", "-e", CONFIG, *map(str, words)])
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(
        "error: pipeline main: path.dead_letter_queue: dead letters cannot be kept"
    )
    assert "Name a folder that can be written with --path.dead_letter_queue" in answer.stderr
    assert not (tmp_path / "data").exists()


def test_a_configuration_that_is_only_tried_needs_no_folder(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["pipeline", "test", "-e", CONFIG, "-S", "path.data=/proc/nowhere"])
    assert (answer.exit_code, answer.stdout) == (0, "Configuration OK\n")
