"""drop: takes events out of the pipeline, all of them or a share.

What is dropped is delivered nowhere and counts as done. The options that add and remove fields and tags are
taken and without effect, as in the original. Behaviour as of logstash-filter-drop 3.0.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter


def _check_percentage(value: float) -> None:
    if not 0 <= value <= 100:
        raise ValueError(f"expected a number from 0 to 100, got {value}")


@dataclass(frozen=True)
class Options(FilterOptions):
    percentage: float = option(
        "number",
        default=100,
        check=_check_percentage,
        help="How many of a hundred events are dropped, by chance.",
    )


@register_filter("drop", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    share = options.percentage / 100

    def drop(event: Event) -> Sequence[Event]:
        dropped = share >= 1 or random.random() < share  # noqa: S311 (no secret hangs on it)
        return () if dropped else (event,)

    return drop
