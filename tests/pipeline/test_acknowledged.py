"""Acknowledgements take effect in the order of reading, in whatever order and from wherever they come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from cht_sync.pipeline.replay.acknowledged import InOrder


@given(st.permutations(range(8)), st.integers(0, 8))
def test_nothing_takes_effect_before_all_that_was_read_earlier(order: list[int], count: int) -> None:
    done: list[int] = []
    tracker = InOrder()
    acks = [tracker.track(lambda number=number: done.append(number)) for number in range(8)]  # type: ignore[misc]
    acknowledged: set[int] = set()
    for number in order[:count]:
        acks[number]()
        acknowledged.add(number)
        front = next((n for n in range(8) if n not in acknowledged), 8)
        assert done == list(range(front))


def test_acknowledgements_of_several_threads_take_effect_once_each_and_in_order() -> None:
    done: list[int] = []
    tracker = InOrder()
    acks = [tracker.track(lambda number=number: done.append(number)) for number in range(500)]  # type: ignore[misc]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda ack: ack(), reversed(acks)))
    assert done == list(range(500))
