"""The suite of benchmarks measures, and says what; how fast anything is, nothing here asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from cht_sync.settings import CHECKOUT


def test_a_short_run_measures_and_writes_json_and_a_chart(tmp_path: Path) -> None:
    sizes = ["--documents", "400", "--rounds", "1", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.suite", "--only", "first-load", "--only", "many", *sizes],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    figures = {one["name"]: one for one in found["figures"]}
    assert figures["first load / psql"]["target"] == 0.75
    assert found["details"]["first load"]["rounds"][0]["documents"] == 400
    assert found["machine"]["processors"] > 0
    assert all(f"{name} " in done.stdout for name in figures)
    assert ElementTree.parse(tmp_path / "results.svg").getroot().tag.endswith("svg")
