"""dbt: whether the package can be had, the loop goes round, and the models are well."""

from __future__ import annotations

from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.runtime.dbt import loop_problems
from cht_sync.runtime.doctor import postgresql
from cht_sync.runtime.doctor.finding import Check, Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import DOCKER, Situation
from cht_sync.runtime.doctor.warehouse import asked
from cht_sync.transform.package import look
from cht_sync.transform.summary import summary
from cht_sync.warehouse.connection import dbt_endpoint

GROUP = "dbt"
CORRECT = "Correct CHT_PIPELINE_BRANCH_URL."


def _package(situation: Situation) -> Findings:
    settings = situation.given
    if not settings.cht_pipeline_branch_url:
        yield ok("our own models")
        return
    try:
        yield ok(look(settings.cht_pipeline_branch_url, settings.cht_pipeline_token))
    except SettingsError as error:
        yield failed(error.message, CORRECT)
    except ChtSyncError as error:
        yield failed(error.message, f"{CORRECT} {error.hint or ''}".strip())


def _loop(situation: Situation) -> Findings:
    if situation.runtime == DOCKER:
        yield skipped("its container alone can ask it")
        return
    place = situation.place("dbt")
    problems = loop_problems(place)
    for problem in problems:
        yield failed(problem, "See: cht-sync logs dbt. Start it again: cht-sync down, cht-sync up")
    if not problems:
        yield ok(f"goes round, as it says at {place}")


def _models(situation: Situation) -> Findings:
    settings = situation.given
    with asked(dbt_endpoint(settings)) as connection:
        found = summary(connection, settings.dbt_postgres_schema)
    if found is None:
        yield skipped("no run yet")
        return
    for problem in found.problems:
        yield warning(
            f"{problem.name} fails: {' '.join(problem.message.split())[:300]}",
            "See: cht-sync logs dbt, and docs/transformation.md",
        )
    if not found.problems:
        yield ok(f"the last run, at {found.last_run:%Y-%m-%d %H:%M} UTC, was a success")


CHECKS = (
    Check("package", GROUP, _package, settings=("CHT_PIPELINE_",), limit=120),
    Check("dbt-loop", GROUP, _loop, about="dbt"),
    Check(
        "models",
        GROUP,
        _models,
        after=(postgresql.SCHEMA, "role-logins"),
        settings=(*postgresql.SETTINGS, "DBT_POSTGRES_"),
        running=postgresql.OWN,
    ),
)
