"""The file in which Logstash keeps a sequence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync.errors import ConfigError
from cht_sync.pipeline import checkpoint
from cht_sync.pipeline.checkpoint import SequenceFile

MEDIC, OTHER = "couch:5984/medic", "couch:5984/other"


def test_a_sequence_is_kept_as_logstash_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "medic.seq"
    SequenceFile(path, authoritative=True, source=MEDIC).save("17-g1AAAA")
    assert path.read_bytes() == b"17-g1AAAA"
    assert path.stat().st_mode & 0o077 == 0
    assert SequenceFile(path, authoritative=True, source=MEDIC).load() == "17-g1AAAA"


@pytest.mark.parametrize(
    ("text", "sequence"), [(" 17-abc \n", "17-abc"), ("", None), ("\n", None), ("0", "0")]
)
def test_what_logstash_or_a_person_wrote_is_read(tmp_path: Path, text: str, sequence: str | None) -> None:
    path = tmp_path / "seq"
    path.write_text(text)
    assert SequenceFile(path, authoritative=True, source=MEDIC).load() == sequence


def test_no_file_is_no_sequence(tmp_path: Path) -> None:
    assert SequenceFile(tmp_path / "seq", authoritative=True, source=MEDIC).load() is None


def test_a_file_that_cannot_be_read_is_told_not_taken_for_the_start(tmp_path: Path) -> None:
    path = tmp_path / "seq"
    path.mkdir()
    with pytest.raises(ConfigError, match="seq"):
        SequenceFile(path, authoritative=True, source=MEDIC).load()
    other = tmp_path / "bytes"
    other.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="bytes"):
        SequenceFile(other, authoritative=True, source=MEDIC).load()


def test_every_save_is_written_where_no_other_place_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=True, source=MEDIC)
    for sequence in ("1", "2", "3"):
        file.save(sequence)
        assert path.read_text() == sequence


def test_a_file_that_only_follows_is_written_at_leisure_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=False, source=MEDIC)
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
    file = SequenceFile(path, authoritative=True, source=MEDIC)
    file.save("1")
    path.unlink()
    file.save("1")
    assert not path.exists()


def test_a_failed_write_leaves_the_old_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seq"
    file = SequenceFile(path, authoritative=True, source=MEDIC)
    file.save("1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="space"):
            file.save("2")
    assert path.read_text() == "1"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["seq", "seq.source"]
    file.save("2")
    assert path.read_text() == "2"


def test_a_disk_that_refuses_the_file_that_only_follows_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    following = SequenceFile(tmp_path / "data" / "medic.seq", authoritative=False, source=MEDIC)
    following.save("1")
    following.flush()
    with pytest.raises(OSError, match="data"):
        SequenceFile(tmp_path / "data" / "medic.seq", authoritative=True, source=MEDIC).save("1")


# Whose sequence it is.


def saved(path: Path, source: str = MEDIC, sequence: str = "17-g1AAAA") -> None:
    file = SequenceFile(path, authoritative=True, source=source)
    file.load()
    file.save(sequence)


def test_a_sequence_of_another_database_is_refused_with_the_ways_on(tmp_path: Path) -> None:
    path = tmp_path / "medic.seq"
    saved(path)
    other = SequenceFile(path, authoritative=True, source=OTHER)
    with pytest.raises(
        ConfigError, match=r"medic\.seq belongs to couch:5984/medic, not to couch:5984/other"
    ) as no:
        other.load()
    for way in ("sequence_path of its own", "remove the file", f"remove {path}.source"):
        assert way in str(no.value.hint)
    assert path.read_text() == "17-g1AAAA"


def test_the_source_is_kept_beside_the_sequence_and_is_the_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "medic.seq"
    saved(path)
    beside = tmp_path / "medic.seq.source"
    assert (path.read_bytes(), beside.read_text()) == (b"17-g1AAAA", MEDIC)
    assert beside.stat().st_mode & 0o077 == 0


def test_each_way_on_leads_on(tmp_path: Path) -> None:
    path = tmp_path / "medic.seq"
    saved(path)
    path.with_name("medic.seq.source").unlink()
    moved = SequenceFile(path, authoritative=True, source=OTHER)
    assert moved.load() == "17-g1AAAA"
    path.unlink()
    saved(path, MEDIC, "1-x")
    assert SequenceFile(path, authoritative=True, source=MEDIC).load() == "1-x"


def test_a_file_of_logstash_is_adopted(tmp_path: Path) -> None:
    path = tmp_path / "seq"
    path.write_text("17-g1AAAA")
    file = SequenceFile(path, authoritative=True, source=MEDIC)
    assert file.load() == "17-g1AAAA"
    file.adopt()
    with pytest.raises(ConfigError):
        SequenceFile(path, authoritative=True, source=OTHER).load()


def test_where_nothing_was_saved_nothing_is_claimed(tmp_path: Path) -> None:
    file = SequenceFile(tmp_path / "seq", authoritative=True, source=MEDIC)
    assert file.load() is None
    file.adopt()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_between_the_two_files_leaves_no_sequence_of_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seq"
    write = checkpoint.write_atomically

    def crash(target: Path, content: str) -> None:
        if target == path:
            raise OSError("no more")
        write(target, content)

    monkeypatch.setattr(checkpoint, "write_atomically", crash)
    with pytest.raises(OSError, match="no more"):
        saved(path)
    monkeypatch.undo()
    saved(path, OTHER)
    assert SequenceFile(path, authoritative=True, source=OTHER).load() == "17-g1AAAA"
