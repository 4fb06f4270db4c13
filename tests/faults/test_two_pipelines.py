"""Two pipelines on one database: the later one writes, the earlier one stands by and takes over."""

from __future__ import annotations

import random
import signal

from faults.chain import Chain


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
