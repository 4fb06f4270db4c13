"""What was measured, as text, as JSON with the machine, and as a chart."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from cht_sync import __version__

BAR, GAP, LABEL, WIDTH = 18, 10, 330, 900
"""Pixels."""
MET, MISSED = "#2a7f62", "#b5532a"


@dataclass(frozen=True)
class Figure:
    """One figure beside its target; `at_least` says on which side of it is well. No target: only told."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def __str__(self) -> str:
        mark = {None: " ", True: "✓", False: "✗"}[self.is_met]
        sign = "≥" if self.at_least else "≤"
        wanted = "" if self.target is None else f"   {sign} {_number(self.target)}"
        return f"  {mark} {self.name:<58} {_number(self.value):>10} {self.unit}{wanted}"


def machine(server_version: str) -> dict[str, Any]:
    """What it was measured on, and with."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "processors": os.cpu_count(),
        "processor": model,
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": server_version,
        "cht_sync": __version__,
        "packages": {name: version(name) for name in ("msgspec", "psycopg2-binary", "urllib3", "waitress")},
    }


def write(folder: Path, figures: Sequence[Figure], details: dict[str, Any], on: dict[str, Any]) -> None:
    """Write `results.json` and `results.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = [
        {"name": one.name, "value": one.value, "unit": one.unit, "target": one.target, "met": one.is_met}
        for one in figures
    ]
    found = {"machine": on, "figures": shown, "details": details}
    (folder / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "results.svg").write_text(chart(figures, on))


def chart(figures: Sequence[Figure], on: dict[str, Any]) -> str:
    """Draw how far each figure is from its target: the line is the target, longer is better."""
    aimed = [one for one in figures if one.target is not None]
    height = 70 + len(aimed) * (BAR + GAP)
    scale = (WIDTH - LABEL - 150) / 2
    line = LABEL + scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{line}" y="20" text-anchor="middle" fill="#444">target</text>',
    ]
    for place, one in enumerate(aimed):
        assert one.target is not None
        y = 30 + place * (BAR + GAP)
        if one.target == 0:
            reached = 2.0 if one.is_met else 0.0
        else:
            reached = one.value / one.target if one.at_least else one.target / max(one.value, 1e-9)
        length = min(2.0, reached) * scale
        sign, colour = "≥" if one.at_least else "≤", MET if one.is_met else MISSED
        told = f"{_number(one.value)} {one.unit} ({sign} {_number(one.target)})"
        parts += [
            f'<text x="{LABEL - 10}" y="{y + 14}" text-anchor="end" fill="#222">{escape(one.name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LABEL + length + 8:.0f}" y="{y + 14}" fill="#222">{escape(told)}</text>',
        ]
    bottom = 30 + len(aimed) * (BAR + GAP)
    parts += [
        f'<line x1="{line}" y1="26" x2="{line}" y2="{bottom}" stroke="#222" stroke-dasharray="4 3"/>',
        f'<text x="{LABEL}" y="{bottom + 22}" fill="#444">{on["processors"]} processors, '
        f"{on['memory_gigabytes']:.0f} GB, PostgreSQL {escape(on['postgresql'])}</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
