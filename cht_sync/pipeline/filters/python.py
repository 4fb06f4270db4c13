"""python: hands each event to a function of yours; an extension that Logstash does not know.

The function is `name` of `module`, which must be on Python's path, and takes an Event: `event.get("[a][b]")`,
`event.set("[a][b]", value)`, `event.remove(...)`, `event.tag(...)`, `event.clone()`. It changes the event
that it is given and returns it or nothing, or returns a list of the events that take its place: an empty one
drops it. An event for which it raises passes with a tag, changed as far as the function came, so a function
that must not let something through removes it first. For the events of one input it is called by one thread
at a time, not always by the same one: what is bound to a thread, as a connection of sqlite3, fails.

It is code with the rights of the pipeline, so it is off unless the command line says
`--enable-python-filter`.
"""

from __future__ import annotations

import importlib
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cht_sync.errors import ConfigError
from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import TIMESTAMP, Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter
from cht_sync.pipeline.timestamp import Timestamp

log = logging.getLogger(__name__)


def _check_function(value: str) -> None:
    module, _, name = value.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError("expected module:function, such as redaction:remove_names")


@dataclass(frozen=True)
class Options(FilterOptions):
    function: str = option(
        "string", required=True, check=_check_function, help="What to call: `module:function`."
    )
    tag_on_failure: tuple[str, ...] = option(
        "string", many=True, default=("_pythonexception",), help="The tags of an event for which it raised."
    )


@register_filter("python", Options)
def build(options: Options, context: PluginContext) -> Filter:
    if not context.python_filter:
        raise ConfigError(
            'filter "python" is not allowed', hint="Start with --enable-python-filter to allow it."
        )
    function = _function(options.function)
    decorate = decorate_filtered(options)
    logged = False

    def failed(event: Event, failure: Exception) -> Sequence[Event]:
        nonlocal logged
        for tag in options.tag_on_failure:
            event.tag(tag)
        if not logged:
            logged = True
            # The text of the failure may hold what is in the event.
            where = traceback.extract_tb(failure.__traceback__)[-1]
            log.warning(
                "filter python: %s raised %s (%s, line %s); the event is tagged %s",
                options.function,
                type(failure).__name__,
                where.filename,
                where.lineno,
                ", ".join(options.tag_on_failure),
            )
        return (event,)

    def call(event: Event) -> Sequence[Event]:
        try:
            events = _events(function(event), event)
            for made in events:
                _check(made)
                decorate(made)
        except Exception as failure:  # Whatever it is, the event must not be lost.
            event.fields = _kept(event.fields)
            return failed(event, failure)
        return events

    return call


def _function(name: str) -> Callable[[Event], Any]:
    module_name, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise ConfigError(
            f'filter "python": {name} cannot be used: {error}',
            hint="The module must be on Python's path (PYTHONPATH), and importing it must succeed.",
        ) from error
    if not callable(function):
        raise ConfigError(f'filter "python": {name} is no function')
    made: Callable[[Event], Any] = function
    return made


def _events(result: Any, event: Event) -> Sequence[Event]:
    if result is None:
        return (event,)
    events = (result,) if isinstance(result, Event) else tuple(result)
    if not all(isinstance(item, Event) for item in events):
        raise TypeError("the function must return an Event, nothing, or a list of Events")
    return events


def _check(event: Event) -> None:
    """Raise TypeError where an event holds what cannot be written out."""
    if _kept(event.fields) != event.fields or not isinstance(event.fields.get(TIMESTAMP), Timestamp | None):
        raise TypeError("an event holds texts, numbers, booleans, null, lists, maps and Timestamps")


def _kept(value: Any) -> Any:
    """Return the value with texts in the place of what an event cannot hold."""
    if value is None or isinstance(value, str | int | float | Decimal | Timestamp | RawDocument):
        return value
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _kept(item) for name, item in value.items()}
    return str(value)
