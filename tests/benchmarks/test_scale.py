"""The benchmark of the parallel load measures, and the model of many machines says what its limits say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cht_sync.settings import CHECKOUT

COSTS = {"read": 10, "make": 10, "stage": 35, "merge": 15, "review": 20, "bytes": 1_000, "wal": 1_500}


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, which lies beside the package."""
    monkeypatch.syspath_prepend(str(CHECKOUT))
    return importlib.import_module("bench.scale")


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_short_run_measures_points_and_the_model_is_shown_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    sizes = ["--documents", "300", "--rounds", "1", "--workers", "1", "2"]
    assert "2 workers: " in run("bench.parallel_load", *sizes, "--output", str(file))
    found = json.loads(file.read_text())
    assert [one["workers"] for one in found["points"]] == [1, 2]
    assert all(cost > 0 for cost in found["costs"].values())
    said = run("bench.scale", str(file))
    assert "| 1,000 M |" in said
    assert "| merging |" in said


def test_one_worker_alone_waits_for_nobody(scale: Any) -> None:
    found, _limit = scale.rate([scale.Place("a", 30, 4), scale.Place("b", 20)], 1)
    assert found == pytest.approx(1e6 / 50)


def test_many_workers_come_near_what_the_busiest_place_does_and_not_beyond(scale: Any) -> None:
    found, limit = scale.rate([scale.Place("a", 30, 4), scale.Place("b", 20)], 200)
    assert limit == "b"
    assert 0.99 * 1e6 / 20 < found <= 1e6 / 20


def test_more_machines_move_the_limit_until_it_is_the_one_line_of_all_writers(scale: Any) -> None:
    costs = scale.Costs(**COSTS)
    small = scale.Site("small", 4, 2, 2, 1, 120, 200)
    large = scale.Site("large", 512, 256, 64, 100, 10_000, 10_000)
    assert scale.rate(scale.there(costs, small), small.workers)[1] == "CouchDB"
    found, limit = scale.rate(scale.there(costs, large), large.workers)
    assert limit == "merging"
    assert found == pytest.approx(1e6 / costs.merge, rel=0.05)


@pytest.mark.parametrize(("seconds", "text"), [(60, "1 min"), (7_200, "2.0 h"), (3 * 86_400, "3.0 d")])
def test_durations_are_said_as_people_say_them(scale: Any, seconds: float, text: str) -> None:
    assert scale.spoken(seconds) == text
