"""Checks are run one after the other, to an end, whatever one of them does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.runtime.doctor.examine import Examined, as_json, from_json, run
from cht_sync.runtime.doctor.finding import Check, Findings, Result, failed, ok, skipped
from cht_sync.runtime.doctor.situation import Situation

HERE = Situation(Environment.PROD, Path("/nowhere"), "embedded", None)


def found(*checks: Check) -> dict[str, Examined]:
    return {one.check: one for one in run(checks, HERE)}


def well(_situation: Situation) -> Findings:
    yield ok("well")


def test_a_check_that_hangs_is_given_up_and_the_next_one_runs() -> None:
    forever = threading.Event()

    def hangs(_situation: Situation) -> Findings:
        yield ok("begun")
        forever.wait()

    try:
        *first, last = run([Check("hangs", "one", hangs, limit=0.2), Check("next", "one", well)], HERE)
    finally:
        forever.set()
    assert [one.message for one in first] == ["begun", "no end after 0.2 s"]
    assert (last.check, last.result) == ("next", Result.OK)


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (ChtSyncError("what\nfailed", hint="Do this."), "what failed", "Do this."),
        (ChtSyncError("what failed"), "what failed", "See what it may mean"),
        (ValueError("a secret"), "this check itself failed (ValueError)", "See what it may mean"),
    ],
)
def test_an_error_is_a_finding_of_one_line_with_what_to_do(
    error: Exception, message: str, remedy: str
) -> None:
    def raises(_situation: Situation) -> Findings:
        yield from ()
        raise error

    one = found(Check("raises", "one", raises))["raises"]
    assert (one.result, one.message) == (Result.FAILED, message)
    assert one.remedy.startswith(remedy)


def test_what_needs_a_check_that_failed_or_was_skipped_is_skipped_with_the_reason() -> None:
    def fails(_situation: Situation) -> Findings:
        yield ok("a part")
        yield failed("the other", "Mend it.")

    def rests(_situation: Situation) -> Findings:
        yield skipped("it is not here")

    seen = found(
        Check("fails", "one", fails),
        Check("needs", "one", well, after=("fails",)),
        Check("needs-that", "one", well, after=("needs",)),
        Check("rests", "one", rests),
        Check("needs-rest", "one", well, after=("rests",)),
        Check("alone", "one", well),
    )
    assert (seen["needs"].result, seen["needs"].message) == (Result.SKIPPED, "it needs fails")
    assert seen["needs-that"].message == "it needs needs"
    assert seen["needs-rest"].message == "it needs rests"
    assert seen["alone"].result is Result.OK


def test_findings_come_through_json_as_they_are() -> None:
    before = list(run([Check("one", "group", well)], HERE))
    assert from_json(as_json(before)) == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"result": "ok"}]', '[{"result": "else"}]'])
def test_what_is_no_list_of_findings_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        assert from_json(text) == text
