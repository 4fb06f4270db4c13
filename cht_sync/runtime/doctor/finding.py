"""The words of `cht-sync doctor`: what a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cht_sync.runtime.doctor.situation import Situation

ELSEWHERE = "See what it may mean: docs/operating.md, When something is wrong"
LIMIT = 30.0
"""Seconds after which a check is given up."""


class Result(StrEnum):
    """`skipped`: it could not be asked, or does not apply here."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What was found, in one line without secrets; `remedy` says what to do, empty where nothing is."""

    result: Result
    message: str
    remedy: str = ""


Findings = Iterator[Finding]


@dataclass(frozen=True)
class Check:
    """A question, and on what it depends.

    `ask` gives one finding or several, one for each database for instance; a ChtSyncError counts as a
    failed one. It is skipped where a check of `after` has failed or was skipped, where a setting that begins
    with one of `settings` is refused or missing, and where a service of `running` belongs to the environment
    and does not run; also where `about` names a service that does not belong to it or does not run. After
    `limit` seconds it is given up.
    """

    name: str
    group: str
    ask: Callable[[Situation], Findings]
    after: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    about: str = ""
    limit: float = LIMIT


def ok(message: str) -> Finding:
    return Finding(Result.OK, message)


def warning(message: str, remedy: str) -> Finding:
    return Finding(Result.WARNING, message, remedy)


def failed(message: str, remedy: str) -> Finding:
    return Finding(Result.FAILED, message, remedy)


def skipped(why: str) -> Finding:
    return Finding(Result.SKIPPED, why)
