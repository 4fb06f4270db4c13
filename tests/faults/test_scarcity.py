"""What is scarce: file handles, disks, memory behind an outage."""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cht_sync import process
from cht_sync.errors import ChtSyncError
from faults.chain import MOST_MEMORY, Chain
from faults.parts import Part
from faults.proxy import Cut

MOST_OF_A_PROCESSOR = 0.5


@contextmanager
def out_of_file_handles(part: Part) -> Iterator[None]:
    """The process may open nothing beside what it has open, and less than that if it closes something."""
    before = resource.prlimit(part.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(part.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(part.pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("name", ["logstash", "postgrest"])
def test_without_file_handles_a_part_waits_without_a_busy_loop_and_goes_on(
    documents_only: Chain, dice: random.Random, name: str
) -> None:
    chain = documents_only
    part = {one.name: one for one in chain.parts}[name]
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        with out_of_file_handles(part):
            # What it has open is taken from it, so that it must open something.
            for proxy in chain.proxies.values():
                with proxy.faulty(Cut()):
                    pass
            # A scrape of its metrics, or another client, waits in the queue of its port.
            waiting = socket.create_connection(("127.0.0.1", part.service.port or 0))
            chain.stands_still()
            began, tries = part.processor_time(), sum(proxy.tries for proxy in chain.proxies.values())
            clock = psutil.Process(part.pid)
            share = clock.cpu_percent(interval=2.0) / 100
            assert share < MOST_OF_A_PROCESSOR, f"{name} takes {share:.2f} of a processor"
            assert part.processor_time() - began < 2.0
            assert sum(proxy.tries for proxy in chain.proxies.values()) - tries < 400
            waiting.close()
        chain.moves()
    chain.caught_up()
    chain.proves_itself()


def test_a_backlog_of_thirty_thousand_documents_behind_an_outage_stays_where_it_is(
    documents_only: Chain,
) -> None:
    chain = documents_only
    with chain.proxies["ingest"].faulty(Cut()) as cut:
        for start in range(0, 30_000, 2_000):
            chain.world.put(*[f"backlog-{n:05}" for n in range(start, start + 2_000)], text="x" * 2_000)
        cut.felt()
        chain.stands_still()
        assert chain.logstash.memory() < MOST_MEMORY
    chain.until(
        lambda: chain.world.query("select count(*) from {} where _id like 'backlog-%%'") == [(30_000,)]
    )
    chain.caught_up()
    chain.proves_itself()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own in `folder`; skips where we may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        process.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder])
    except ChtSyncError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield
    finally:
        process.run(["umount", "--lazy", folder])


def fill(folder: Path) -> Path:
    """A file that leaves no room in its file system."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert shutil.disk_usage(folder).free == 0
    return ballast


def test_a_full_disk_of_the_engine_stops_nothing_since_postgresql_keeps_the_position(
    tmp_path: Path, dice: random.Random
) -> None:
    data = tmp_path / ".cht-sync" / "gamma" / "logstash" / "data"
    with small_disk(data, 1):
        chain = Chain(tmp_path)
        try:
            chain.start(models=False)
            with chain.load(dice.getrandbits(32)):
                chain.moves()
                ballast = fill(data)
                chain.moves()
                # A new engine needs nothing of that disk either.
                chain.logstash.kill()
                chain.logstash.start()
                chain.moves()
                ballast.unlink()
                chain.moves()
            chain.caught_up()
            assert chain.logstash.signal(signal.SIGTERM) == 0
            chain.proves_itself()
        finally:
            chain.close()


def test_a_full_disk_of_postgresql_is_waited_for_until_somebody_makes_room(
    tmp_path: Path, dice: random.Random
) -> None:
    cluster = tmp_path / "cluster"
    with small_disk(cluster, 300):
        chain = Chain(tmp_path, cluster=cluster)
        try:
            chain.start(models=False)
            with chain.load(dice.getrandbits(32)):
                chain.moves()
                ballast = fill(cluster)

                def full() -> bool:
                    # As the supervisor does: PostgreSQL may end for want of room for its log.
                    if not chain.postgres.lives():
                        chain.postgres.service.prepare(print)
                        chain.postgres.start()
                    return "No space left on device" in chain.postgres.said()

                chain.until(full)
                chain.stands_still()
                ballast.unlink()
                chain.restart(chain.postgres)
                chain.moves()
            chain.caught_up()
            chain.proves_itself()
        finally:
            chain.close()
