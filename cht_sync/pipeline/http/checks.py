"""What the values of single options of `http` must be; each check raises ValueError."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.client import Unsendable, check_address, check_characters
from cht_sync.pipeline.http.proxy import proxy_of
from cht_sync.pipeline.references import InvalidReference
from cht_sync.pipeline.templates import compile_template

SCHEMES = ("http://", "https://")
POSSIBLE_VALUES = ("1", "", "/", "::1")
"""Of a reference in a host, a port, a path, and in brackets."""

_REFERENCE = re.compile(r"%\{\{[^}]*\}\}|%\{[^}]*\}")


def check_template(text: str) -> None:
    try:
        compile_template(text)(Event())
    except InvalidReference as error:
        # Every event would fail with it.
        raise ValueError(f"%{{{error}}} is no reference to a field") from None


def check_leaves(value: Any) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            check_leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_leaves(item)
    elif isinstance(value, str):
        check_template(value)


def depends_on_event(text: str) -> bool:
    return _REFERENCE.search(text) is not None


def check_url(url: str) -> None:
    """What depends on the event may be anything; what does not must be right for every event."""
    check_template(url)
    check_characters(_REFERENCE.sub(lambda reference: "1" * len(reference[0]), url))
    fixed = url.partition("%{")[0].lower()
    if depends_on_event(url) and any(scheme.startswith(fixed) and scheme != fixed for scheme in SCHEMES):
        return
    refusals = []
    for value in POSSIBLE_VALUES:
        try:
            check_address(_REFERENCE.sub(value, url))
        except Unsendable as refusal:
            refusals.append(refusal)
    if len(refusals) == len(POSSIBLE_VALUES):
        raise refusals[0]


def check_headers(headers: Mapping[str, Any] | None) -> None:
    for name, value in (headers or {}).items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"the value of {name!r} must be one text")
        check_leaves(value)


def check_positive(value: float) -> None:
    if value <= 0:
        raise ValueError("expected more than 0")


def check_authorities(paths: tuple[Path, ...]) -> None:
    if len(paths) > 1:
        raise ValueError("only one file can be given; it may hold several certificates")


def check_proxy(value: tuple[Any, ...] | None) -> None:
    if value is not None:
        proxy_of(value)
