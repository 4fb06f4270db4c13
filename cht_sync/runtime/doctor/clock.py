"""Clocks that differ from ours."""

from __future__ import annotations

from cht_sync.ingest.auth import CLOCK_SKEW
from cht_sync.runtime.doctor.finding import Finding, failed, ok, skipped, warning

NOTICED = 5.0
"""Seconds from which a difference is told; a date in an answer has whole seconds."""
REMEDY = "Let both machines follow NTP: timedatectl set-ntp true"


def judged(whose: str, seconds_ahead: float | None) -> Finding:
    """What a difference means; None: the server does not tell its time."""
    if seconds_ahead is None:
        return skipped(f"{whose} does not tell its time")
    difference = abs(seconds_ahead)
    if difference <= NOTICED:
        return ok(f"that of {whose} agrees with ours")
    what = f"that of {whose} is {difference:.0f} s {'ahead of' if seconds_ahead > 0 else 'behind'} ours"
    if difference > CLOCK_SKEW:
        return failed(f"{what}; PostgREST allows tokens {CLOCK_SKEW} s and refuses them beyond", REMEDY)
    return warning(what, REMEDY)
