"""What is cheap to look at of a machine, each with what to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import ServiceError
from cht_sync.runtime import embedded, node
from cht_sync.runtime.doctor import machine, postgresql
from cht_sync.runtime.doctor.examine import Examined, run
from cht_sync.runtime.doctor.finding import Check, Result
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.settings import load

LOCAL = SERVICES[Environment.LOCAL]


def situation(home: Path, runtime: str = "embedded", **settings: str) -> Situation:
    given = load(Environment.LOCAL, home=home, environ=settings, read_file=False)
    return Situation(Environment.LOCAL, home, runtime, given, services=LOCAL)


def found(checks: Sequence[Check], name: str, where: Situation) -> list[Examined]:
    return list(run([one for one in checks if one.name == name], where))


def test_a_limit_of_few_open_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _what: (256, 4096))
    (one,) = found(machine.CHECKS, "open-files", situation(tmp_path))
    assert (one.result, one.message) == (Result.WARNING, "a process may open only 256 files")
    assert "ulimit -n 1024" in one.remedy


def test_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = SimpleNamespace(available=10**8, total=2 * 10**9)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: little)
    (one,) = found(machine.CHECKS, "memory", situation(tmp_path))
    assert (one.result, one.message) == (Result.WARNING, "0.1 of 2.0 GB can be had")


@pytest.mark.parametrize(
    ("runtime", "result"), [("embedded", Result.FAILED), ("auto", Result.WARNING), ("docker", None)]
)
def test_node_that_is_missing_is_told_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, result: Result | None
) -> None:
    def missing() -> None:
        raise ServiceError("couchdb", "Node.js is missing", hint="Install nodejs and npm.")

    monkeypatch.setattr(node, "programs", missing)
    monkeypatch.setattr(embedded, "unavailable", dict)
    _python, *others = found(machine.CHECKS, "programs", situation(tmp_path, runtime))
    assert [(one.result, one.remedy) for one in others] == (
        [(result, "Install nodejs and npm.")] if result else []
    )


def test_a_python_that_is_too_old_or_too_new_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "version_info", (3, 14, 0, "final", 0))
    first, *_others = found(machine.CHECKS, "programs", situation(tmp_path, "docker"))
    assert (first.result, first.message) == (Result.FAILED, "Python 3.14 is not among 3.11 to 3.13")


def test_a_python_that_superset_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "unavailable", lambda: {"superset": "needs Python 3.11 or 3.12"})
    warned = [
        one.remedy
        for one in found(machine.CHECKS, "programs", situation(tmp_path))
        if one.result is Result.WARNING
    ]
    assert warned == ["Install one of them, or: cht-sync up --without superset"]


@pytest.mark.parametrize(
    ("host", "mode", "result"),
    [
        ("postgres.example.org", "prefer", Result.WARNING),
        ("postgres.example.org", "require", Result.OK),
        ("10.1.2.3", "prefer", Result.OK),
    ],
)
def test_documents_in_the_clear_through_networks_of_others_are_told(
    tmp_path: Path, host: str, mode: str, result: Result
) -> None:
    where = replace(
        situation(tmp_path, POSTGRES_HOST=host, POSTGRES_SSLMODE=mode), environment=Environment.PROD
    )
    elsewhere = replace(where, services=SERVICES[Environment.PROD])
    (one,) = found(postgresql.CHECKS, "encryption", elsewhere)
    assert one.result is result


def test_the_tests_run_on_a_python_that_is_well(tmp_path: Path) -> None:
    first, *_others = found(machine.CHECKS, "programs", situation(tmp_path, "docker"))
    assert first.message == f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    assert first.result is Result.OK
