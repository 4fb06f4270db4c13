"""The part of the status table that tells of the models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.text import Text

from cht_sync.runtime.control import elapsed

UNNOTICEABLE = 0.1
"""Seconds that the pipelines are behind and nobody needs to be told of."""


def dbt_lines(dbt: dict[str, Any] | None) -> Iterator[Text]:
    """The lines for `dbt` of `status --json`."""
    if dbt is None:
        yield Text("dbt: no run yet", "dim")
        return
    line = Text(f"dbt: last run {_ago(dbt['last_run'])} ago, {dbt['seconds']:.1f} s, ")
    if dbt["result"] == "success":
        yield line.append("success", "green")
    else:
        yield line.append("failed: " + ", ".join(dbt["failed"]), "red")
    if dbt["freshness"]:
        yield _freshness(dbt["freshness"])
    for one in dbt["failing"]:
        yield from _failing(one)
    if dbt["skipped"]:
        yield Text("not tried, because they read what fails: " + ", ".join(dbt["skipped"]), "yellow")
    if dbt["tests"]:
        yield from _tests(dbt["tests"])
    if dbt["package"]["note"]:
        yield Text(f"! package: {dbt['package']['note']}", "yellow")


def _freshness(found: dict[str, Any]) -> Text:
    hour = found["greatest_of_last_hour"]
    greatest = "" if hour is None else f" (greatest of the last hour: {hour:.1f} s)"
    behind = found["pipeline_seconds_behind"]
    if behind is None:
        return Text(
            f"a document reaches the models {found['median']:.1f} s after PostgreSQL{greatest}; "
            "how far that is behind CouchDB is not known"
        )
    way = f", {behind:.1f} s of them before PostgreSQL" if behind > UNNOTICEABLE else ""
    return Text(f"a change reaches the models after {found['seconds']:.1f} s{way}{greatest}")


def _failing(one: dict[str, Any]) -> Iterator[Text]:
    since = f" for {_ago(one['since'])}" if one["since"] else ""
    yield Text(f"! {one['name']} fails{since}: {' '.join(one['message'].split())}", "red")
    if one["compiled_sql"]:
        yield Text(f"  SQL: {one['compiled_sql']}", "red")
    if one["retry_at"]:
        seconds = datetime.fromisoformat(one["retry_at"]).timestamp() - time.time()
        yield Text(f"  tried again {f'in {seconds:.0f} s' if seconds > 0 else 'now'}", "red")


def _tests(tests: dict[str, Any]) -> Iterator[Text]:
    line = Text(f"tests {_ago(tests['at'])} ago: {tests['passed']} passed")
    if tests["failed"]:
        line.append(f", {len(tests['failed'])} failed: " + _names(tests["failed"]), "red")
    if tests["warned"]:
        line.append(f", {len(tests['warned'])} warned: " + _names(tests["warned"]), "yellow")
    yield line
    for one in tests["failed"]:
        yield Text(f"! {one['name']}: {' '.join(one['message'].split())}", "red")
        if one["compiled_sql"]:
            yield Text(f"  SQL: {one['compiled_sql']}", "red")


def _names(problems: list[dict[str, Any]]) -> str:
    return ", ".join(one["name"] for one in problems)


def _ago(moment: str) -> str:
    return elapsed(datetime.fromisoformat(moment).timestamp())
