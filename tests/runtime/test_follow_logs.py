"""Logs are followed line by line, also when one is put aside or appears later."""

from __future__ import annotations

import threading
from pathlib import Path

from cht_sync.runtime.control import follow_logs


class Reader:
    """Follows logs in a thread and waits for lines."""

    def __init__(self, *paths: Path, lines: int = 10) -> None:
        self._stop = threading.Event()
        self._arrived = threading.Condition()
        self._seen: list[tuple[str, str]] = []
        self._thread = threading.Thread(
            target=follow_logs,
            args=(paths, self._stop, self._show),
            kwargs={"follow": True, "lines": lines},
            daemon=True,
        )
        self._thread.start()

    def _show(self, name: str, line: str) -> None:
        with self._arrived:
            self._seen.append((name, line))
            self._arrived.notify_all()

    def wait_for(self, *expected: tuple[str, str]) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._seen) >= len(expected), timeout=60)
            assert self._seen == list(expected)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(60)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_new_lines_follow_the_last_ones(tmp_path: Path) -> None:
    log = tmp_path / "couchdb.log"
    log.write_text("one\ntwo\n")
    with Reader(log, lines=1) as reader:
        reader.wait_for(("couchdb", "two"))
        append(log, "three\n")
        reader.wait_for(("couchdb", "two"), ("couchdb", "three"))


def test_a_log_that_appears_later_is_followed_from_its_beginning(tmp_path: Path) -> None:
    first, later = tmp_path / "couchdb.log", tmp_path / "dbt.log"
    first.write_text("one\n")
    with Reader(first, later) as reader:
        reader.wait_for(("couchdb", "one"))
        later.write_text("hello\n")
        reader.wait_for(("couchdb", "one"), ("dbt", "hello"))


def test_a_log_that_was_put_aside_is_followed_from_the_new_beginning(tmp_path: Path) -> None:
    log = tmp_path / "couchdb.log"
    log.write_text("a long line from before\n")
    with Reader(log) as reader:
        reader.wait_for(("couchdb", "a long line from before"))
        log.replace(tmp_path / "couchdb.log.1")
        log.write_text("new\n")
        reader.wait_for(("couchdb", "a long line from before"), ("couchdb", "new"))
