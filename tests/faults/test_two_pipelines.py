"""Two pipelines on one database: the later one writes, the earlier one stands by and takes over."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import pytest

from faults.chain import Chain
from faults.parts import Part
from faults.proxy import Hang, Proxy


@pytest.fixture
def way(documents_only: Chain) -> Iterator[Proxy]:
    """The second one's own way to PostgREST."""
    proxy = Proxy(documents_only.proxies["ingest"].target)
    yield proxy
    proxy.close()


@pytest.fixture
def second(documents_only: Chain, way: Proxy, dice: random.Random) -> Iterator[Part]:
    """The second one, which writes; the first one stands by. All is caught up."""
    chain = documents_only
    part = chain.second_logstash(way)
    chain.logstash.news()
    try:
        with chain.load(dice.getrandbits(32)):
            chain.moves()
            part.start()
            chain.until(lambda: "another writer has taken over" in chain.logstash.news())
        chain.caught_up()
        yield part
    finally:
        part.kill()


def test_of_two_pipelines_one_writes_and_the_other_goes_on_when_it_ends(
    documents_only: Chain, dice: random.Random
) -> None:
    chain = documents_only
    second = chain.second_logstash()
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        (epoch, _batch) = chain.position()
        second.start()
        chain.says(chain.logstash, "another writer has taken over")
        (later, _batch) = chain.position()
        assert later != epoch
        chain.moves()
        assert second.signal(signal.SIGTERM) == 0
        chain.moves()
        (latest, _batch) = chain.position()
        assert latest != later
    chain.caught_up()
    chain.proves_itself()
    assert "Traceback" not in second.said()


def test_a_standby_takes_over_from_one_that_is_killed_though_nothing_is_to_be_written(
    documents_only: Chain, second: Part, dice: random.Random
) -> None:
    chain = documents_only
    (epoch, _batch) = chain.position()
    second.kill()
    chain.another_writes_than(epoch)
    with chain.load(dice.getrandbits(32)):
        chain.moves()
    chain.caught_up()
    chain.proves_itself()


def test_a_standby_takes_over_from_one_that_is_killed_while_it_writes(
    documents_only: Chain, second: Part, dice: random.Random
) -> None:
    chain = documents_only
    (epoch, _batch) = chain.position()
    with chain.load(dice.getrandbits(32), pause=0.01):
        chain.moves()
        second.kill()
        chain.another_writes_than(epoch)
        chain.moves()
    chain.caught_up()
    chain.proves_itself()


def test_a_standby_takes_over_from_one_that_is_cut_off_and_that_one_then_stands_by(
    documents_only: Chain, second: Part, way: Proxy, dice: random.Random
) -> None:
    chain = documents_only
    (epoch, _batch) = chain.position()
    with chain.load(dice.getrandbits(32)):
        with way.faulty(Hang()):
            chain.another_writes_than(epoch)
            (taken, _batch) = chain.position()
            chain.moves()
        chain.says(second, "another writer has taken over")
        chain.beats()
        assert chain.position()[0] == taken
    chain.caught_up()
    chain.proves_itself()
    assert "Traceback" not in second.said()


def test_while_both_live_nobody_takes_over_neither_in_quiet_nor_under_load_nor_while_a_request_waits(
    documents_only: Chain, second: Part, dice: random.Random
) -> None:
    chain = documents_only
    (epoch, _batch) = chain.position()
    chain.beats()
    with chain.load(dice.getrandbits(32)):
        chain.beats()
        with chain.world.installation.connected() as connection, connection.cursor() as cursor:
            # The line in which every writer stands: nothing is stored, no batch ends.
            cursor.execute("select from v1.cht_sync_state for update")
            chain.beats()
            connection.rollback()
        chain.moves()
    assert chain.position()[0] == epoch
    chain.caught_up()
    chain.proves_itself()
