"""A source that gives no sign of life."""

from __future__ import annotations

from faults.chain import Chain
from faults.proxy import Silent


def test_a_feed_that_never_sends_a_heartbeat_is_made_anew_and_brings_every_change(
    documents_only: Chain,
) -> None:
    chain = documents_only
    proxy = chain.proxies["source"]
    chain.world.put("before")
    chain.caught_up()
    before = proxy.connections
    with proxy.faulty(Silent()) as silent:
        silent.felt(3)
        chain.world.put("in between")
        chain.caught_up()
        # Another connection is made, since nothing says that this one lives.
        chain.until(lambda: proxy.connections > before)
        chain.world.put("after it")
        chain.caught_up()
        assert proxy.connections - before < 5
    chain.proves_itself()
