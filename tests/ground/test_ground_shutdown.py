"""The first signal asks, the second abandons, and the handlers of before come back."""

from __future__ import annotations

import signal
import threading

import pytest

from cht_sync.shutdown import SIGNALS, stop_on_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_sets_the_event_and_the_second_interrupts(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.wait(60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_is_abandoned_a_second_signal_does_no_more_than_the_first(
    number: signal.Signals,
) -> None:
    with stop_on_signals(abandons=False) as stop:
        for _time in range(3):
            signal.raise_signal(number)
        assert stop.wait(60)


def test_a_signal_of_another_kind_is_the_second_one_too() -> None:
    with stop_on_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


def test_the_handlers_of_before_are_restored_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(ZeroDivisionError), stop_on_signals():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_ends_a_wait_at_once() -> None:
    main = threading.main_thread().ident
    assert main is not None
    with stop_on_signals() as stop:
        threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGTERM), daemon=True).start()
        assert stop.wait(60)


def test_a_signal_in_the_middle_of_a_wait_stops_and_blocks_nobody() -> None:
    with stop_on_signals() as stop:
        # As `stop.wait()` holds it, in the thread that the handler runs in.
        with stop._cond:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(60)


def test_a_reload_comes_as_often_as_it_is_asked_for_and_stops_nothing() -> None:
    reload = threading.Event()
    with stop_on_signals(reload) as stop:
        for _time in range(2):
            signal.raise_signal(signal.SIGHUP)
            assert reload.wait(60)
            reload.clear()
        assert not stop.is_set()
