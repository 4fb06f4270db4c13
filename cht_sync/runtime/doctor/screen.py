"""What `cht-sync doctor` prints: a line a check, below it what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.text import Text

from cht_sync.runtime.doctor.examine import Examined
from cht_sync.runtime.doctor.finding import Result

MARKS = {
    Result.OK: ("✓", "green"),
    Result.WARNING: ("!", "yellow"),
    Result.FAILED: ("✗", "red"),
    Result.SKIPPED: ("-", "dim"),
}
WIDTH = 18
"""Of the names of checks."""


def report(found: Iterable[Examined]) -> Iterator[Text]:
    """The lines, as findings come. What several have in common, a reason or a remedy, is said once."""
    group = ""
    for _common, some in groupby(found, _in_common):
        together = list(some)
        one = together[0]
        if one.group != group:
            group = one.group
            yield Text(group, "bold")
        mark, style = MARKS[one.result]
        if one.result is Result.SKIPPED:
            more = f" (and {len(together) - 1} more)" if len(together) > 1 else ""
            yield Text(f"  {mark} {one.check:<{WIDTH}} {one.message}{more}", style)
            continue
        for each in together:
            yield Text.assemble("  ", (mark, style), f" {each.check:<{WIDTH}} {each.message}")
        if one.remedy:
            yield Text(f"    → {one.remedy}", style)


def _in_common(one: Examined) -> tuple[str, ...]:
    if one.result is Result.SKIPPED:
        return one.group, one.result, one.message
    return one.group, one.result, one.check, one.remedy


def conclusion(found: Sequence[Examined]) -> Text:
    """How many failed and warn."""
    failed = sum(one.result is Result.FAILED for one in found)
    warnings = sum(one.result is Result.WARNING for one in found)
    skipped = sum(one.result is Result.SKIPPED for one in found)
    rest = f"{warnings} to look at, {skipped} not asked"
    if failed:
        return Text(f"{failed} failed, {rest}", "red")
    if warnings:
        return Text(f"Nothing failed, {rest}", "yellow")
    return Text(f"All is well, {skipped} not asked", "green")
