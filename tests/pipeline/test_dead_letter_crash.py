"""kill -9 in the middle of replay and drop, while the engine appends to the same file: nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from http_server import HttpServer, http_server

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.file import file_of, letters_in
from cht_sync.settings import CHECKOUT

LETTERS = 30
PATIENCE = 60.0
SETTLING_AT_ONCE = """
import os, signal, sys
from cht_sync.pipeline.dead_letters import file
from cht_sync.reconcile import filed

def die(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

def half(source, target, changes):
    target.write(source.readline()[:20])
    target.flush()
    die()

filed.SETTLE_AFTER = filed.SHARE = 0
point, after = sys.argv.pop(1), int(sys.argv.pop(1))
rewrite = filed.rewrite

def counted(*arguments):
    global after
    after -= 1
    if after == 0:
        if point == "half of the new file":
            file._copy = half
        elif point == "before the new file is safe":
            file.os.fsync = die
        elif point == "before it takes the place":
            file.Path.replace = die
        elif point == "after that":
            file.sync_folder = die
    return rewrite(*arguments)

filed.rewrite = counted
from cht_sync.cli import main
main()
"""
POINTS = (
    "half of the new file",
    "before the new file is safe",
    "before it takes the place",
    "after that",
)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as one:
        yield one


class Appending:
    """Letters that the engine appends while somebody replays or drops others."""

    def __init__(self, data: Path) -> None:
        self._file = DeadLetterFile(data, "main")
        self.count = 0
        self._over = threading.Event()
        self._begun = threading.Event()

    def append(self, count: int) -> None:
        numbers = range(self.count, self.count + count)
        self._file.append(
            [Rejected(str(n), None, None, "HTTP 400", "no", json.dumps({"n": n})) for n in numbers]
        )
        self.count += count

    @contextmanager
    def going_on(self) -> Iterator[None]:
        def go_on() -> None:
            while not self._over.wait(0.002):
                self.append(1)
                self._begun.set()

        thread = threading.Thread(target=go_on)
        self._over.clear()
        self._begun.clear()
        thread.start()
        self._begun.wait(PATIENCE)
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def command(data: Path, *words: str) -> list[str]:
    return ["dead-letters", *words, "--path.data", str(data)]


def killed(point: str, after: int, words: Sequence[str]) -> None:
    """Run a command that is killed in its rewrite number `after`."""
    process = subprocess.run(
        [sys.executable, "-c", SETTLING_AT_ONCE, point, str(after), *words],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def left(data: Path) -> list[int]:
    found = letters_in(file_of(data / "dead_letter_queue", "main"), "main")
    return [int(letter.members["document_id"]) for letter in found]


def taken(server: HttpServer) -> set[int]:
    return {json.loads(request.body)["n"] for request in server.requests}


def configuration(folder: Path, server: HttpServer) -> Path:
    path = folder / "own.conf"
    path.write_text(
        f'input {{ generator {{ }} }} output {{ http {{ url => "{server.url}" http_method => "post" }} }}'
    )
    return path


@pytest.mark.parametrize("point", POINTS)
def test_a_replay_that_is_killed_loses_no_letter(tmp_path: Path, server: HttpServer, point: str) -> None:
    data = tmp_path / "data"
    appending = Appending(data)
    appending.append(LETTERS)
    replay = command(data, "replay", "--all", "-f", str(configuration(tmp_path, server)))
    with appending.going_on():
        killed(point, 3, replay)
    assert set(left(data)) | taken(server) == set(range(appending.count))
    assert len(left(data)) == len(set(left(data)))
    assert len(taken(server)) == 3
    subprocess.run([sys.executable, "-m", "cht_sync", *replay], check=True, capture_output=True)
    assert left(data) == []
    assert taken(server) == set(range(appending.count))
    assert len(server.requests) <= appending.count + 1, "more than the letter in hand was delivered twice"


@pytest.mark.parametrize("point", POINTS)
def test_a_drop_that_is_killed_drops_all_that_was_asked_for_or_nothing(tmp_path: Path, point: str) -> None:
    data = tmp_path / "data"
    appending = Appending(data)
    appending.append(LETTERS)
    path = file_of(data / "dead_letter_queue", "main")
    names = [letter.name for letter in letters_in(path, "main") if int(letter.members["document_id"]) % 2]
    odd = {n for n in range(LETTERS) if n % 2}
    with appending.going_on():
        killed(point, 1, command(data, "drop", "--yes", *names))
    everything = set(range(appending.count))
    assert set(left(data)) == (everything - odd if point == "after that" else everything)
    appending.append(1)
    if point != "after that":
        words = command(data, "drop", "--yes", *names)
        subprocess.run([sys.executable, "-m", "cht_sync", *words], check=True, capture_output=True)
    assert set(left(data)) == {*everything, appending.count - 1} - odd
    assert not list(path.parent.glob(".*.tmp"))


def test_replays_that_are_killed_again_and_again_deliver_everything(
    tmp_path: Path, server: HttpServer
) -> None:
    data = tmp_path / "data"
    appending = Appending(data)
    replay = command(data, "replay", "--all", "-f", str(configuration(tmp_path, server)))
    for requests in (1, 7, LETTERS - 1):
        appending.append(LETTERS)
        with appending.going_on():
            wanted = len(server.requests) + requests
            process = subprocess.Popen([sys.executable, "-m", "cht_sync", *replay], stdout=subprocess.DEVNULL)
            with server.arrived:
                assert server.arrived.wait_for(lambda n=wanted: len(server.requests) >= n, PATIENCE)
            process.kill()
            process.wait()
        assert set(left(data)) | taken(server) == set(range(appending.count))
    subprocess.run([sys.executable, "-m", "cht_sync", *replay], check=True, capture_output=True)
    assert left(data) == []
    assert taken(server) == set(range(appending.count))
