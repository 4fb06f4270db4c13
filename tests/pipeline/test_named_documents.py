"""Documents that are refused one by one: some are named in the log, and all are counted."""

from __future__ import annotations

import logging

import pytest

from cht_sync.pipeline import tally
from cht_sync.pipeline.postgrest import beside
from cht_sync.pipeline.postgrest.beside import NAMED, _Named
from cht_sync.pipeline.tally import SAY_AGAIN


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    made = Clock()
    for module in (beside, tally):
        monkeypatch.setattr(module, "time", made)
    caplog.set_level(logging.ERROR)
    return made


def test_of_a_thousand_in_a_row_ten_a_minute_are_named_and_all_are_counted(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    named = _Named("dead_letter", logging.ERROR, "is refused ({what})")
    for number in range(1000):
        clock.now += 0.1
        named.say("couchdb/medic", [(f"d{number}", "22P05")])
    named.close()
    assert len(caplog.messages) <= 2 * (NAMED + 2)
    assert caplog.messages[0] == "couchdb/medic: document 'd0' is refused (22P05)"
    counted = [record.fields["documents"] for record in caplog.records]  # type: ignore[attr-defined]
    assert sum(counted) == 1000


def test_of_many_at_once_the_rest_is_counted_at_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    named = _Named("dead_letter", logging.ERROR, "is refused ({what})")
    named.say("couchdb/medic", [(f"d{number}", "22P05") for number in range(25)])
    assert len(caplog.messages) == NAMED + 1
    assert caplog.messages[-1] == "couchdb/medic: and so for 15 more documents"


def test_after_a_minute_documents_are_named_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    named = _Named("dead_letter", logging.ERROR, "is refused ({what})")
    named.say("couchdb/medic", [(f"d{number}", "22P05") for number in range(25)])
    caplog.clear()
    clock.now += SAY_AGAIN
    named.say("couchdb/medic", [(None, "22P05")])
    assert caplog.messages == ["couchdb/medic: document (unreadable) is refused (22P05)"]
