"""Dead letters in a file, for destinations that have no table for them, and beside the table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cht_sync.errors import DeadLettersFull
from cht_sync.pipeline import dead_letter
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.line import number_of

LETTER = Rejected("a", "1-a", "7-x", "22003", "out of range", '{"n":1e140000}')


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_each_letter_is_a_line_that_says_everything(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path, "medic")
    file.append([LETTER, LETTER])
    file.append([Rejected(None, None, None, "malformed", "no JSON")])
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    first, second, last = read(path)
    assert first.pop("at")
    assert number_of(first.pop("id")) + 1 == number_of(second["id"]) < number_of(last["id"])
    assert first == {
        "pipeline": "medic",
        "kind": None,
        "plugin_type": None,
        "plugin_id": None,
        "address": None,
        "database": None,
        "document_id": "a",
        "revision": "1-a",
        "sequence": "7-x",
        "code": "22003",
        "status": None,
        "reason": "out of range",
        "response": None,
        "document": '{"n":1e140000}',
    }
    assert last["code"] == "malformed"
    assert path.stat().st_mode & 0o077 == 0


def test_a_pipeline_whose_name_has_a_slash_has_a_file_of_its_own(tmp_path: Path) -> None:
    DeadLetterFile(tmp_path, "a/b").append([LETTER])
    assert len(read(tmp_path / "dead_letter_queue" / "a%2Fb.jsonl")) == 1


def test_no_letters_make_no_file(tmp_path: Path) -> None:
    DeadLetterFile(tmp_path, "medic").append([])
    assert list(tmp_path.iterdir()) == []


def test_an_identity_that_is_no_text_can_be_kept(tmp_path: Path) -> None:
    DeadLetterFile(tmp_path, "medic").append([Rejected("\ud800\0", None, None, "22P05", "strange")])
    (letter,) = read(tmp_path / "dead_letter_queue" / "medic.jsonl")
    assert letter["document_id"] == "\ud800\0"


def test_half_a_line_that_a_crash_left_does_not_spoil_the_next_letter(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path, "medic")
    file.append([LETTER])
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at":"2026')
    file.append([LETTER])
    assert [json.loads(path.read_text().splitlines()[line])["code"] for line in (0, 2)] == ["22003"] * 2


def test_a_letter_that_the_disk_takes_in_pieces_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: write(descriptor, data[:10]))
    DeadLetterFile(tmp_path, "medic").append([LETTER])
    monkeypatch.undo()
    assert len(read(tmp_path / "dead_letter_queue" / "medic.jsonl")) == 1


def codes(folder: Path) -> list[str]:
    return [letter["code"] for letter in read(folder / "dead_letter_queue" / "medic.jsonl")]


def letter(code: str, document: str | None = None) -> Rejected:
    return Rejected("a", "1-a", "7-x", code, "reason", document)


def test_a_copy_is_a_line_once_also_after_a_restart(tmp_path: Path) -> None:
    for _run in range(2):
        file = DeadLetterFile(tmp_path, "medic")
        for _again in range(2):
            file.append_copies({"aa": letter("one"), "bb": letter("two", '"fingerprint":"cc"}\n')})
    file.append_copies({"bb": letter("two"), "cc": letter("three")})
    assert codes(tmp_path) == ["one", "two", "three"]


def test_a_copy_that_a_crash_cut_off_is_written_again(tmp_path: Path) -> None:
    DeadLetterFile(tmp_path, "medic").append_copies({"aa": letter("one"), "bb": letter("two")})
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    DeadLetterFile(tmp_path, "medic").append_copies({"aa": letter("one"), "bb": letter("two")})
    first, _cut_off, second = path.read_text().splitlines()
    assert [json.loads(line)["code"] for line in (first, second)] == ["one", "two"]


def test_a_copy_after_one_that_is_larger_than_the_tail_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter, "TAIL", 1_000)
    copies = {"aa": letter("one", "x" * 10_000), "bb": letter("two", "x" * 10_000)}
    for _run in range(2):
        DeadLetterFile(tmp_path, "medic").append_copies({"bb": copies["bb"]})
    assert codes(tmp_path) == ["two"]
    DeadLetterFile(tmp_path, "medic").append_copies(copies)
    assert codes(tmp_path) == ["two", "one"]


def test_what_is_remembered_of_copies_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter, "REMEMBERED", 3)
    file = DeadLetterFile(tmp_path, "medic")
    for n in range(5):
        file.append_copies({f"{n:x}": letter(str(n))})
    file.append_copies({"4": letter("4"), "0": letter("0")})
    assert codes(tmp_path) == ["0", "1", "2", "3", "4", "0"]


def test_a_full_file_takes_no_more_copies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = DeadLetterFile(tmp_path, "medic", most_bytes=100)
    for n in range(4):
        file.append_copies({f"{n:x}": letter(str(n))})
    assert codes(tmp_path) == ["0"]
    assert caplog.text.count("is full") == 1


def test_a_letter_that_has_no_other_place_than_a_full_file_is_refused_and_not_lost(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path, "medic", most_bytes=100)
    file.append([letter("first")])
    with pytest.raises(DeadLettersFull, match=r"medic\.jsonl has 100 bytes of dead letters"):
        file.append([letter("second")])
    file.append([])
    assert codes(tmp_path) == ["first"]
