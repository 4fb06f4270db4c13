"""The benchmark of the parallel load measures, and the model of many machines says what its limits say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.parallel_load import Costs
from bench.scale import Place, Site, rate, spoken, there
from cht_sync.settings import CHECKOUT

COSTS = Costs(read=10, make=10, stage=35, merge=15, bytes=1_000, wal=1_500)
MERGING = 1e6 / COSTS.merge


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


def test_one_worker_alone_waits_for_nobody() -> None:
    found, _limit = rate([Place("a", 30, 4), Place("b", 20)], 1)
    assert found == pytest.approx(1e6 / 50)


def test_many_workers_come_near_what_the_busiest_place_does_and_not_beyond() -> None:
    found, limit = rate([Place("a", 30, 4), Place("b", 20)], 200)
    assert limit == "b"
    assert 0.99 * 1e6 / 20 < found <= 1e6 / 20


def test_more_machines_move_the_limit_until_it_is_the_one_line_of_all_writers() -> None:
    small = Site("small", 4, 2, 2, 1, 120, 200)
    large = Site("large", 512, 256, 64, 100, 10_000, 10_000)
    assert rate(there(COSTS, small), small.workers)[1] == "CouchDB"
    found, limit = rate(there(COSTS, large), large.workers)
    assert limit == "merging"
    assert found == pytest.approx(MERGING, rel=0.05)


@pytest.mark.parametrize(("seconds", "text"), [(60, "1 min"), (7_200, "2.0 h"), (3 * 86_400, "3.0 d")])
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
