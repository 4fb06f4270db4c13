"""Which alerts would fire if what was scraped before went on, and then what was scraped after it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cht_sync.settings import CHECKOUT

RULES = CHECKOUT / "deploy" / "monitoring" / "prometheus-alerts.yml"
BEFORE = 5
"""Minutes of the first figures."""
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


def promtool(*arguments: str | Path) -> None:
    """Run it, and fail with what it says; skip the test where it is not here."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here; Debian has it in the package prometheus")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def assert_firing(folder: Path, before: str, after: str, *, minutes: int, alerts: Collection[str]) -> None:
    """After so many minutes of the second figures exactly these alerts fire; only pipelines count."""
    first, second = _series(before), _series(after)
    series = [
        {"series": name, "values": f"{first.get(name, '_')}x{BEFORE} {value}x{minutes}"}
        for name, value in second.items()
    ]
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)]
    asked = [{"expr": FIRING, "eval_time": f"{BEFORE + minutes}m", "exp_samples": expected}]
    file = folder / "situation.yml"
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
    promtool("test", "rules", file)


def _series(text: str) -> dict[str, str]:
    """Values by series, as promtool writes them; its clock begins at 0, so moments are moved there."""
    now = time.time()
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if "pipeline" in one.labels:
                labels = ", ".join(f'{name}="{value}"' for name, value in one.labels.items())
                value = one.value - now if one.name.endswith("_timestamp_seconds") else one.value
                found[f"{one.name}{{{labels}}}"] = f"{value:.0f}"
    return found
