from __future__ import annotations

from datetime import UTC, datetime

from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.retries import Retries, dbt_failed

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIVE_MINUTES = 300


def node(name: str, status: str = "error", kind: str = "model") -> NodeResult:
    return NodeResult(name, f"{kind}.p.{name}", kind, status)


def ran(*nodes: NodeResult) -> RunOutcome:
    return RunOutcome("run", "run", AT, 1.0, nodes)


def due(retries: Retries, now: float) -> tuple[str, ...]:
    return retries.due(now, full_refresh=False)


def test_what_fails_is_due_later_and_later_and_within_five_minutes() -> None:
    retries = Retries(5)
    now, waits = 1000.0, []
    for _ in range(10):
        retries.note(ran(node("a")), now=now, at=AT)
        assert due(retries, now) == ()
        wait = next(seconds for seconds in range(1, 1000) if due(retries, now + seconds))
        waits.append(wait)
        now += wait
    assert waits[0] <= 7
    assert waits[-1] > waits[0]
    assert max(waits) <= FIVE_MINUTES


def test_each_model_has_its_own_wait_and_the_time_of_its_first_failure() -> None:
    retries = Retries(5)
    retries.note(ran(node("a")), now=0, at=AT)
    later = AT.replace(hour=1)
    retries.note(ran(node("a"), node("b")), now=3600, at=later)
    assert [(one.node.name, one.since) for one in retries.failing] == [("a", AT), ("b", later)]
    assert due(retries, 3607) == ("b+",)
    assert retries.others(["b+"]) == ("a+",)
    assert set(due(retries, 3600 + FIVE_MINUTES)) == {"a+", "b+"}


def test_a_success_ends_it_and_a_skip_does_not() -> None:
    retries = Retries(5)
    retries.note(ran(node("a"), node("b")), now=0, at=AT)
    retries.note(ran(node("a", "success"), node("b", "skipped")), now=1, at=AT)
    assert retries.all() == ("b+",)


def test_what_stands_still_is_known_until_it_is_built() -> None:
    retries = Retries(5)
    retries.note(ran(node("a"), node("reader", "skipped")), now=0, at=AT)
    retries.note(ran(node("c", "success")), now=1, at=AT)
    assert retries.not_tried == ("reader",)
    retries.note(ran(node("a", "success"), node("reader", "success")), now=9, at=AT)
    assert retries.not_tried == ()


def test_what_was_to_be_tried_and_was_not_waits_again() -> None:
    retries = Retries(5)
    retries.note(ran(node("a")), now=0, at=AT)
    assert due(retries, 10) == ("a+",)
    retries.note(ran(node("dbt", kind="dbt")), now=10, at=AT, tried=["a+"])
    assert due(retries, 11) == ()
    assert retries.all() == ("a+",)


def test_only_what_failed_in_a_full_refresh_is_tried_with_one() -> None:
    retries = Retries(5)
    retries.note(ran(node("a")), now=0, at=AT, full_refresh=True)
    retries.note(ran(node("b")), now=0, at=AT)
    retries.note(ran(node("a")), now=9, at=AT)
    assert retries.due(FIVE_MINUTES, full_refresh=True) == ("a+",)
    assert retries.due(FIVE_MINUTES, full_refresh=False) == ("b+",)


def test_after_a_reset_nothing_waits() -> None:
    retries = Retries(5)
    retries.note(ran(node("a")), now=0, at=AT)
    retries.reset()
    assert (retries.all(), retries.failing) == ((), ())


def test_a_failure_of_dbt_or_of_a_hook_belongs_to_no_model() -> None:
    assert dbt_failed(ran(node("dbt", kind="dbt")))
    assert dbt_failed(ran(node("a", "success"), node("on_run_start", kind="operation")))
    assert not dbt_failed(ran(node("a"), node("seed", kind="seed")))
    retries = Retries(5)
    retries.note(ran(node("on_run_start", kind="operation")), now=0, at=AT)
    assert retries.all() == ()
