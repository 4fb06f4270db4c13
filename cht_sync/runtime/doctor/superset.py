"""Superset: secrets that others know, and whether it answers."""

from __future__ import annotations

from cht_sync import weak_secrets
from cht_sync.environments import Environment
from cht_sync.runtime.doctor.finding import Check, Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.runtime.superset import superset_problems

GROUP = "Superset"
SECRETS = ("SUPERSET_SECRET_KEY", "SUPERSET_PASSWORD")


def _secrets(situation: Situation) -> Findings:
    if "superset" not in situation.services:
        yield skipped("superset is none of the services here")
        return
    settings = situation.given
    names = (settings.postgres_user, settings.couchdb_user, settings.postgres_db)
    # On one's own machine only.
    say = warning if situation.environment is Environment.LOCAL else failed
    well = []
    for variable in SECRETS:
        secret = getattr(settings, variable.lower())
        problem = weak_secrets.weak(secret, *names) if secret else None
        if problem:
            yield say(f"{variable} {problem}", f"Make one: openssl rand -hex 32; set it as {variable}")
        elif secret:
            well.append(variable)
    if well:
        yield ok(f"{' and '.join(well)} cannot be guessed")


def _answers(situation: Situation) -> Findings:
    problems = superset_problems(situation.place("superset"))
    for problem in problems:
        yield failed(problem, "See: cht-sync logs superset")
    if not problems:
        yield ok(f"answers at {situation.place('superset')}")


CHECKS = (
    Check("superset-secrets", GROUP, _secrets, settings=SECRETS),
    Check("superset", GROUP, _answers, about="superset"),
)
