"""The alerts ask for what there is, say what to do next, and fire when they should."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerting import RULES, promtool
from monitoring_table import PAGE
from queries import PARTS, problems

from cht_sync.settings import CHECKOUT

FOLDER = CHECKOUT / "deploy" / "monitoring"
SITUATIONS = Path(__file__).with_name("alerts.yml")
COMMAND = re.compile(r"`cht-sync ([a-z-]+)")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))


def anchors(page: Path) -> set[str]:
    """The places that a link into a page can name, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_alert
def test_an_alert_asks_for_what_real_parts_expose(alert: dict[str, Any]) -> None:
    assert problems(alert["expr"]) == []


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do_next(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    page, _, anchor = notes["runbook_url"].partition("#")
    assert anchor in anchors(CHECKOUT / page)


def test_the_commands_that_alerts_name_exist() -> None:
    from cht_sync.cli import main  # noqa: PLC0415 (imports all commands)

    named = {name for alert in alerts() for name in COMMAND.findall(alert["annotations"]["description"])}
    assert named
    assert named <= set(main.list_commands(None))  # type: ignore[arg-type]


@each_alert
def test_an_alert_is_on_the_page(alert: dict[str, Any]) -> None:
    [line] = [
        row for row in PAGE.read_text().splitlines() if re.search(rf"^\|.*\b{alert['alert']}\b.*\|", row)
    ]
    assert alert["labels"]["severity"] in line


@each_alert
def test_an_alert_has_a_situation_in_which_it_fires(alert: dict[str, Any]) -> None:
    tests = yaml.safe_load(SITUATIONS.read_text())["tests"]
    samples = [
        sample["labels"]
        for test in tests
        for asked in test["promql_expr_test"]
        for sample in asked["exp_samples"]
    ]
    assert f'{{alertname="{alert["alert"]}"}}' in samples


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", RULES)


def test_prometheus_takes_the_example_of_a_configuration() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", SITUATIONS)


def test_the_example_scrapes_the_jobs_that_the_alerts_know() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    [down] = [alert for alert in alerts() if alert["alert"] == "ChtSyncDown"]
    wanted = re.search(r'job=~"(.+)"', down["expr"])
    assert wanted is not None
    assert all(re.fullmatch(wanted[1], job["job_name"]) for job in jobs)
    assert {job["job_name"] for job in jobs} <= {f"cht-sync-{part}" for part in PARTS}
