"""The options that all plugins of a kind share, each declared once.

What they do to an event is in `decorate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.options import option
from cht_sync.pipeline.templates import compile_template


def check_templates(value: Any) -> None:
    """Refuse texts, lists and values of hashes whose `%{...}` cannot be compiled. Raises ValueError."""
    if isinstance(value, str):
        compile_template(value)
    elif isinstance(value, list | tuple):
        for item in value:
            check_templates(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            compile_template(name)
            check_templates(item)


def _check_new_fields(value: dict[str, Any]) -> None:
    for name, item in value.items():
        if isinstance(item, dict):
            raise ValueError(f"the value of {name!r} must be a text, a number or an array of these")
    check_templates(value)


@dataclass(frozen=True)
class _CommonOptions:
    id: str | None = option("string", help="Names this plugin in logs and metrics.")
    enable_metric: bool = option("boolean", default=True, help="Whether the plugin is counted in metrics.")


@dataclass(frozen=True)
class InputOptions(_CommonOptions):
    """What every input takes."""

    add_field: Mapping[str, Any] | None = option(
        "hash", check=_check_new_fields, help="Fields to add to each event; `%{...}` is filled in."
    )
    tags: tuple[str, ...] = option("string", many=True, default=(), help="Tags to add to each event.")
    type: str | None = option("string", help="The field `type`, set where the event has none.")


@dataclass(frozen=True)
class FilterOptions(_CommonOptions):
    """What every filter takes; done to an event only after the filter succeeded with it."""

    add_field: Mapping[str, Any] | None = option(
        "hash", check=_check_new_fields, help="Fields to add; a field that is there becomes a list."
    )
    remove_field: tuple[str, ...] = option(
        "string", many=True, default=(), check=check_templates, help="Fields to remove, after `add_field`."
    )
    add_tag: tuple[str, ...] = option(
        "string", many=True, default=(), check=check_templates, help="Tags to add, after `remove_field`."
    )
    remove_tag: tuple[str, ...] = option(
        "string", many=True, default=(), check=check_templates, help="Tags to remove, last of all."
    )
    periodic_flush: bool = option(
        "boolean", default=False, help="Taken and without effect: no filter holds events back."
    )


@dataclass(frozen=True)
class OutputOptions(_CommonOptions):
    """What every output takes."""


@dataclass(frozen=True)
class CodecOptions(_CommonOptions):
    """What every codec takes."""
