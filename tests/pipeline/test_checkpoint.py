"""The file in which Logstash keeps a sequence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync.errors import ConfigError
from cht_sync.pipeline import checkpoint
from cht_sync.pipeline.checkpoint import SequenceFile


def test_a_sequence_is_kept_as_logstash_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "medic.seq"
    SequenceFile(path, authoritative=True).save("17-g1AAAA")
    assert path.read_bytes() == b"17-g1AAAA"
    assert path.stat().st_mode & 0o077 == 0
    assert SequenceFile(path, authoritative=True).load() == "17-g1AAAA"


@pytest.mark.parametrize(
    ("text", "sequence"), [(" 17-abc \n", "17-abc"), ("", None), ("\n", None), ("0", "0")]
)
def test_what_logstash_or_a_person_wrote_is_read(tmp_path: Path, text: str, sequence: str | None) -> None:
    path = tmp_path / "seq"
    path.write_text(text)
    assert SequenceFile(path, authoritative=True).load() == sequence


def test_no_file_is_no_sequence(tmp_path: Path) -> None:
    assert SequenceFile(tmp_path / "seq", authoritative=True).load() is None


def test_a_file_that_cannot_be_read_is_told_not_taken_for_the_start(tmp_path: Path) -> None:
    path = tmp_path / "seq"
    path.mkdir()
    with pytest.raises(ConfigError, match="seq"):
        SequenceFile(path, authoritative=True).load()
    other = tmp_path / "bytes"
    other.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="bytes"):
        SequenceFile(other, authoritative=True).load()


def test_every_save_is_written_where_no_other_place_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=True)
    for sequence in ("1", "2", "3"):
        file.save(sequence)
        assert path.read_text() == sequence


def test_a_file_that_only_follows_is_written_at_leisure_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=False)
    file.save("1")
    file.save("2")
    assert path.read_text() == "1"
    now += checkpoint.LEISURE
    file.save("3")
    assert path.read_text() == "3"
    file.save("4")
    file.flush()
    assert path.read_text() == "4"


def test_the_same_sequence_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=True)
    file.save("1")
    path.unlink()
    file.save("1")
    assert not path.exists()


def test_a_failed_write_leaves_the_old_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=True)
    file.save("1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="space"):
            file.save("2")
    assert path.read_text() == "1"
    assert [child.name for child in tmp_path.iterdir()] == ["seq"]
    file.save("2")
    assert path.read_text() == "2"


def test_a_disk_that_refuses_the_file_that_only_follows_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    following = SequenceFile(tmp_path / "data" / "medic.seq", authoritative=False)
    following.save("1")
    following.flush()
    with pytest.raises(OSError, match="data"):
        SequenceFile(tmp_path / "data" / "medic.seq", authoritative=True).save("1")
