"""Files are written whole or not at all, and for their owner only."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cht_sync import files


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_replaced_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    path.chmod(0o644)

    files.write_atomically(path, "nëw")

    assert path.read_bytes() == "nëw".encode()
    assert mode(path) == 0o600


def test_a_file_can_be_made_readable_for_others(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "pipelines.yml", b"text", mode=0o644)
    assert mode(tmp_path / "pipelines.yml") == 0o644


def test_a_refused_write_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_of_one_file_never_mix_their_contents(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    contents = {letter * 20_000 for letter in "abcd"}
    failures: list[BaseException] = []

    def write_often(content: str) -> None:
        try:
            for _ in range(15):
                files.write_atomically(path, content)
                assert path.read_text() in contents
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write_often, args=(content,), daemon=True) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_folder_is_closed_to_others_also_when_it_was_open_before(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert files.private_folder(folder) == folder
    assert mode(folder) == 0o700
    folder.chmod(0o755)
    assert mode(files.private_folder(folder)) == 0o700


@pytest.mark.parametrize(
    ("count", "expected"), [(2, ["three", "four"]), (10, ["one", "two", "three", "four"]), (0, [])]
)
def test_the_last_lines_of_a_log_leave_out_empty_ones(
    tmp_path: Path, count: int, expected: list[str]
) -> None:
    log = tmp_path / "service.log"
    log.write_text("one\n\ntwo\n  \nthree\nfour\n")
    assert files.last_lines(log, count) == expected


def test_the_last_lines_of_a_large_log_are_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_bytes(b"x" * 1_000_000 + b"\nlast \xff line\n")
    assert files.last_lines(log, 1) == ["last \ufffd line"]


def test_a_missing_log_has_no_last_lines(tmp_path: Path) -> None:
    assert files.last_lines(tmp_path / "none.log") == []
