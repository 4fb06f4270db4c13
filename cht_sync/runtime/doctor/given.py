"""The settings as they are given now, beside those of what runs."""

from __future__ import annotations

from cht_sync.runtime.doctor.finding import Check, Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import DOCKER, Situation

GROUP = "settings"


def _accepted(situation: Situation) -> Findings:
    for problem in situation.problems:
        yield failed(problem, f"Set it in {situation.home / '.env'} or in the environment (see env.template)")
    if situation.not_judged:
        yield skipped(f"they cannot be judged: {situation.not_judged}")
    elif not situation.problems:
        yield ok(f"all are accepted for {situation.environment}")


def _in_force(situation: Situation) -> Findings:
    if situation.changed:
        again = "cht-sync up" if situation.runtime == DOCKER else "cht-sync down, cht-sync up"
        yield warning(
            f"{', '.join(situation.changed)}: what runs was started with another value; that one is "
            "examined here",
            f"Let it count: {again}",
        )
    elif situation.runs:
        yield ok("what runs was started with them")


CHECKS = (Check("settings", GROUP, _accepted), Check("settings-in-force", GROUP, _in_force))
