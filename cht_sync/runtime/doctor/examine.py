"""Running the checks: one after the other, each with an end, none of which stops the others."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.doctor import (
    couchdb,
    dbt,
    docker,
    given,
    machine,
    pipelines,
    postgresql,
    postgrest,
    superset,
)
from cht_sync.runtime.doctor.finding import ELSEWHERE, Check, Finding, Result, failed, skipped
from cht_sync.runtime.doctor.situation import Situation

HERE = (*machine.CHECKS, *given.CHECKS)
SERVERS = (
    *couchdb.CHECKS,
    *postgresql.CHECKS,
    *postgrest.CHECKS,
    *pipelines.CHECKS,
    *dbt.CHECKS,
)
"""With containers they are run inside the network."""
AFTERWARDS = (*superset.CHECKS, *docker.CHECKS)
"""Asked from here again: Superset as people reach it, at the port that is published."""


@dataclass(frozen=True)
class Examined:
    """A finding and of which check it is: the shape of an entry of `doctor --json`."""

    check: str
    group: str
    result: Result
    message: str
    remedy: str


AskInside = Callable[[], Sequence[Examined]]


def examine(situation: Situation, ask_inside: AskInside | None = None) -> Iterator[Examined]:
    """Yield what is found, in the order of the groups.

    `ask_inside` runs the checks of servers elsewhere. Raises nothing.
    """
    yield from run(HERE, situation)
    trouble = []
    try:
        yield from run(SERVERS, situation) if ask_inside is None else ask_inside()
    except (ChtSyncError, ValueError) as error:
        trouble.append(_not_inside(error))
    yield from run(AFTERWARDS, situation)
    yield from trouble


def run(checks: Sequence[Check], situation: Situation) -> Iterator[Examined]:
    """Yield what these checks find; one that depends on a failed one is skipped."""
    out: set[str] = set()
    for check in checks:
        why_not = _why_not(check, situation, out)
        results = set()
        for finding in [skipped(why_not)] if why_not else _found(check, situation):
            results.add(finding.result)
            yield Examined(
                check.name, check.group, finding.result, _one_line(finding.message), _one_line(finding.remedy)
            )
        if Result.FAILED in results or results <= {Result.SKIPPED}:
            out.add(check.name)


def as_json(found: Sequence[Examined]) -> str:
    return json.dumps([asdict(one) for one in found], indent=2)


def from_json(text: str) -> list[Examined]:
    """The reverse of `as_json`. Raises ValueError for what is none."""
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("no list of findings")
    try:
        return [Examined(**{**one, "result": Result(one["result"])}) for one in found]
    except (TypeError, KeyError) as error:
        raise ValueError(f"no findings: {error}") from error


def _not_inside(error: Exception) -> Examined:
    return Examined(
        "inside",
        docker.GROUP,
        Result.FAILED,
        f"servers cannot be asked from inside the network: {_one_line(str(error))[-300:]}",
        "See: cht-sync status, cht-sync logs. No such command: CHT_SYNC_IMAGE is of another version",
    )


def _why_not(check: Check, situation: Situation, out: set[str]) -> str | None:
    if check.about and check.about not in situation.services:
        return f"{check.about} is none of the services here"
    if situation.settings is None and (check.settings or check.running or check.about):
        return situation.no_settings
    for service in (*check.running, *((check.about,) if check.about else ())):
        if service in situation.services and not situation.is_running(service):
            return f"{service} is not running"
    if refused := [name for name in situation.refused if name.startswith(check.settings or ("\0",))]:
        return f"{', '.join(sorted(refused))} must be set right first"
    if failed_before := [name for name in check.after if name in out]:
        return f"it needs {failed_before[0]}"
    return None


def _found(check: Check, situation: Situation) -> Iterator[Finding]:
    """What a check finds, in a thread of its own that is left alone when its time is over."""
    findings: queue.Queue[Finding | None] = queue.Queue()

    def ask() -> None:
        try:
            for finding in check.ask(situation):
                findings.put(finding)
        except ChtSyncError as error:
            findings.put(failed(error.message, error.hint or ELSEWHERE))
        except OSError as error:
            findings.put(failed(f"{error.filename or check.name}: {error.strerror}", ELSEWHERE))
        except Exception as error:
            # Its text may hold anything; the check, and where it failed, are what can be mended.
            findings.put(failed(f"this check itself failed ({type(error).__name__})", ELSEWHERE))
        findings.put(None)

    threading.Thread(target=ask, name=f"check {check.name}", daemon=True).start()
    ends = time.monotonic() + check.limit
    while True:
        try:
            finding = findings.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            yield failed(f"no end after {check.limit:g} s", ELSEWHERE)
            return
        if finding is None:
            return
        yield finding


def _one_line(text: str) -> str:
    return " ".join(text.split())
