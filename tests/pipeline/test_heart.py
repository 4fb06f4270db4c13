"""A writer's heart: beats while somebody may look, rests else, and is seen to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from waiting import eventually
from warehouse.served import SECRET, ObservedStop, Served

from cht_sync.pipeline.postgrest import heart as heart_module
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.heart import BEAT_TIMEOUTS, Heart, OtherHeart
from cht_sync.pipeline.postgrest.writer import Writer
from cht_sync.tokens import TokenSource

SOURCE = "couch.example.org/medic"


@pytest.fixture
def stop() -> threading.Event:
    return ObservedStop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It beats and looks without pauses, and rests at once."""
    for name in ("BEAT_EVERY", "STANDBYS_EVERY", "SIGN_EVERY"):
        monkeypatch.setattr(heart_module, name, 0.01)
    monkeypatch.setattr(heart_module, "BEATS_FOR", 0.2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(heart_module.time, "monotonic", lambda: now[0])
    yield now


def connection_to(warehouse: Served) -> PostgrestConnection:
    return PostgrestConnection(warehouse.url, TokenSource(SECRET, warehouse.role), BEAT_TIMEOUTS)


@pytest.fixture
def beating(warehouse: Served) -> Iterator[Heart]:
    heart = Heart(connection_to(warehouse), warehouse.url)
    yield heart
    heart.close()


def claimed(warehouse: Served, stop: threading.Event, heart: Heart | None = None) -> Writer:
    writer = Writer(connection_to(warehouse), warehouse.url, warehouse.table_url, heart=heart)
    writer.claim(SOURCE, stop)
    return writer


def beats(warehouse: Served) -> list[tuple[int, int | None]]:
    return warehouse.installation.query("select epoch, beat from v1.cht_sync_heartbeats where not standby")


def epoch_of(warehouse: Served) -> int:
    return int(warehouse.installation.progress()[2])


@pytest.mark.usefixtures("quick")
def test_it_rests_where_nobody_looks_and_beats_again_when_somebody_does(
    warehouse: Served, stop: threading.Event, beating: Heart
) -> None:
    standby = claimed(warehouse, stop)
    claimed(warehouse, stop, beating)
    eventually(lambda: beats(warehouse) == [(epoch_of(warehouse), None)])

    def beats_again() -> bool:
        assert not standby.is_released(stop)
        return bool(beats(warehouse)[0][1])

    eventually(beats_again)
    eventually(lambda: beats(warehouse) == [(epoch_of(warehouse), None)])


def test_the_heart_of_an_earlier_writer_beats_no_more(
    warehouse: Served, stop: threading.Event, beating: Heart
) -> None:
    claimed(warehouse, stop)
    earlier = epoch_of(warehouse)
    claimed(warehouse, stop)
    beating.beat(SOURCE, earlier)
    assert beating._thread is not None
    beating._thread.join(20)
    assert not beating._thread.is_alive()
    assert beats(warehouse) == []


def looked(warehouse: Served, clock: list[float], seconds: int, other: OtherHeart) -> list[bool]:
    """What a standby sees that looks every second."""
    found = []
    for _ in range(seconds):
        clock[0] += 1
        found.append(other.has_stopped(SOURCE, 1, epoch_of(warehouse), 1))
    return found


def set_beat(warehouse: Served, beat: int | None) -> None:
    warehouse.installation.query(
        "insert into v1.cht_sync_heartbeats values (%s, false, %s, %s) "
        "on conflict (source, standby) do update set epoch = excluded.epoch, beat = excluded.beat",
        SOURCE,
        epoch_of(warehouse),
        beat,
    )


@pytest.fixture
def other(warehouse: Served, stop: threading.Event) -> OtherHeart:
    claimed(warehouse, stop)
    return OtherHeart(connection_to(warehouse), warehouse.url)


def test_a_heart_that_does_not_beat_for_seven_seconds_has_stopped(
    warehouse: Served, clock: list[float], other: OtherHeart
) -> None:
    set_beat(warehouse, 1)
    assert looked(warehouse, clock, 8, other) == [False] * 7 + [True]
    set_beat(warehouse, 2)
    assert looked(warehouse, clock, 8, other) == [False] * 7 + [True]


def test_a_batch_is_a_beat(warehouse: Served, clock: list[float], other: OtherHeart) -> None:
    set_beat(warehouse, 1)
    assert not any(looked(warehouse, clock, 7, other))
    clock[0] += 1
    assert not other.has_stopped(SOURCE, 1, epoch_of(warehouse), 2)


@pytest.mark.parametrize("beat", ["none", None])
def test_a_heart_that_rests_or_was_never_seen_has_not_stopped(
    warehouse: Served, clock: list[float], other: OtherHeart, beat: str | None
) -> None:
    if beat is None:
        set_beat(warehouse, None)
    assert not any(looked(warehouse, clock, 60, other))


def test_the_heart_of_an_earlier_writer_says_nothing_of_the_next_one(
    warehouse: Served, stop: threading.Event, clock: list[float], other: OtherHeart
) -> None:
    set_beat(warehouse, 1)
    claimed(warehouse, stop)
    assert not any(looked(warehouse, clock, 60, other))


def test_the_time_of_an_outage_does_not_count(
    warehouse: Served, clock: list[float], other: OtherHeart
) -> None:
    """The heart may have met the same one."""
    set_beat(warehouse, 1)
    assert not any(looked(warehouse, clock, 6, other))
    clock[0] += 60
    assert looked(warehouse, clock, 8, other) == [False] * 7 + [True]


def test_a_layout_without_hearts_costs_nothing_but_the_seconds(
    warehouse: Served, stop: threading.Event, beating: Heart
) -> None:
    warehouse.installation.query("drop table v1.cht_sync_heartbeats; notify pgrst, 'reload schema'")
    old, new = claimed(warehouse, stop), claimed(warehouse, stop, beating)
    assert not old.is_released(stop)
    new.release()
    assert old.is_released(stop)
