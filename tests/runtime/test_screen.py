"""The lines on the final screen can be pasted into a shell, whatever the names in them."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from cht_sync.environments import Environment
from cht_sync.runtime import screen
from cht_sync.runtime.control import elapsed
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.settings import load


def state() -> EnvironmentState:
    return EnvironmentState(
        environment=Environment.LOCAL,
        runtime="embedded",
        supervisor_pid=1,
        supervisor_started=1.0,
        services=[
            ServiceState("postgres", "running", port=15432),
            ServiceState("couchdb", "running", port=15984),
        ],
    )


def shown(home: Path, *, services: Sequence[ServiceState] = (), **given: str) -> str:
    output = io.StringIO()
    console = Console(file=output, width=80, highlight=False)
    seen = state()
    seen.services += services
    screen.final_screen(
        console, seen, load(Environment.LOCAL, home=home, environ=given), {"superset": "needs Python 3.11"}
    )
    return output.getvalue()


def test_the_final_screen_says_what_runs_where() -> None:
    text = shown(Path("home"))
    assert "127.0.0.1:15432, database data" in text
    assert "http://localhost:5984, databases medic" in text
    assert "superset" in text


def test_the_commands_survive_a_folder_with_spaces_and_brackets_and_a_hard_name(tmp_path: Path) -> None:
    home = tmp_path / "a [bold] folder"
    text = shown(home, COUCHDB_DBS="a/b+c", POSTGRES_DB="with$dollar")
    (psql,) = [line for line in text.splitlines() if "PGPASSFILE=" in line]
    words = shlex.split(psql)
    assert words[0] == f"PGPASSFILE={home / '.cht-sync' / 'local' / 'pgpass'}"
    assert words[-3:-1] == ["with$dollar", "-c"]
    (curl,) = [line for line in text.splitlines() if "curl" in line]
    words = shlex.split(curl)
    assert words[2] == str(home / ".cht-sync" / "local" / "netrc")
    assert words[5] == "http://localhost:5984/a%2Fb%2Bc/ada"


def test_the_status_says_below_the_databases_why_one_is_not_read() -> None:
    figures = dict.fromkeys(
        (
            *("documents", "rows", "pending", "seconds_behind", "documents_per_second", "dead_letters"),
            *("load", "migration"),
        )
    )
    problem = "this is another server. Correct COUCHDB_HOST; or: cht-sync accept-server [--continue]"
    status = {
        "environment": "prod",
        "runtime": "embedded",
        "services": [],
        "databases": [
            {"name": "medic", "problem": problem, **figures},
            {"name": "medic-sentinel", "problem": None, **figures},
        ],
        "dbt": None,
        "problems": [],
    }
    output = io.StringIO()
    Console(file=output, width=200).print(screen.status_view(status))
    assert [line for line in output.getvalue().splitlines() if line.startswith("!")] == [
        f"! medic: {problem}"
    ]


def test_progress_without_a_terminal_is_a_line_for_each_step() -> None:
    output = io.StringIO()
    with screen.progress(Console(file=output)) as progress:
        recorded = state()
        for doing in ("preparing", "preparing", "creating [medic]"):
            recorded.services[0].doing = doing
            progress.show(recorded)
    assert output.getvalue().splitlines() == [
        "  postgres        preparing",
        "  couchdb         running",
        "  postgres        creating [medic]",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (65, "1 min"), (3 * 3600 + 120, "3 h 2 min"), (50 * 3600, "2 d 2 h"), (-9, "0 s")],
)
def test_a_time_span_is_told_in_its_two_largest_units(
    seconds: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    assert elapsed(1_000_000 - seconds) == words


@pytest.mark.parametrize(("idle", "told"), [(2.0, False), (300.0, True)])
@pytest.mark.parametrize(
    ("work", "of", "line", "remedy"),
    [
        (
            "load",
            {"documents": 1200, "expected": 5000},
            "medic: 1,200 of about 5,000 documents are loaded",
            "cht-sync load medic",
        ),
        (
            "migration",
            {"relation": "public.couchdb", "rows": 1200},
            "medic: 1,200 rows of public.couchdb are taken over",
            "cht-sync migrate run",
        ),
    ],
)
def test_work_that_goes_on_is_shown_below_the_databases_and_what_was_left_alone_with_the_remedy(
    work: str, of: dict[str, object], line: str, remedy: str, idle: float, told: bool
) -> None:
    figures = dict.fromkeys(
        (
            *("documents", "rows", "pending", "seconds_behind", "documents_per_second", "dead_letters"),
            *("problem", "load", "migration"),
        )
    )
    status = {
        "environment": "prod",
        "runtime": "embedded",
        "services": [],
        "databases": [{"name": "medic", **figures, work: {**of, "seconds_idle": idle}}],
        "dbt": None,
        "problems": [],
    }
    output = io.StringIO()
    Console(file=output, width=200).print(screen.status_view(status))
    text = output.getvalue()
    assert line in text
    assert (remedy in text) is told
