"""docs/plugins.md, made of the plugins themselves: their docstrings and their options."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cht_sync.pipeline.common_options import CodecOptions, FilterOptions, InputOptions, OutputOptions
from cht_sync.pipeline.options import Option
from cht_sync.pipeline.plugins import PluginKind, Registration, is_built_in, options_of, plugins, refusals

OURS = "(not in Logstash)"
"""What the help of an option ends with where it is an extension."""

KINDS: tuple[tuple[PluginKind, str, type[Any], str], ...] = (
    ("input", "Inputs", InputOptions, "Where events come from."),
    (
        "filter",
        "Filters",
        FilterOptions,
        "What is done to events, in the order of the configuration. An event for which a filter fails passes "
        "with a tag.",
    ),
    ("output", "Outputs", OutputOptions, "Where events go to."),
    ("codec", "Codecs", CodecOptions, "How bytes become events in inputs, and events bytes in outputs."),
)

HEAD = """# Plugins

Written by `make plugin-docs` from the code; change the docstrings and options there.

An option of Logstash's plugin of the same name is supported, or named here as without effect, or refused when
the configuration is read. "Ours" marks extensions, which Logstash does not know. Plugins of your own:
[writing-a-plugin.md](writing-a-plugin.md). Where the behaviour differs from Logstash's on purpose:
[compatibility.md](compatibility.md).
"""


def plugin_docs() -> str:
    """Return the text of docs/plugins.md: the engine's own plugins, whatever else is installed."""
    parts = [HEAD, "\n".join(_contents()) + "\n"]
    for kind, title, common, about in KINDS:
        shared = options_of(common)
        parts += [f"## {title}\n\n{about}\n", f"All of them take:\n\n{_table(shared)}"]
        first: dict[Any, Registration[Any, Any]] = {}
        for registration in _built_in(kind):
            same = first.setdefault(registration.build, registration)
            parts.append(
                "\n".join(
                    _described(registration, shared) if same is registration else _alias(same, registration)
                )
            )
        refused = refusals(kind)
        if refused:
            parts.append("### Refused\n\n" + "".join(f"- `{name}` {why}\n" for name, why in refused.items()))
    return "\n".join(parts)


def _contents() -> Iterator[str]:
    for kind, title, _common, _about in KINDS:
        names = (f"[{one.name}](#{_anchor(kind, one.name)})" for one in _built_in(kind))
        yield f"- {title}: {', '.join(names)}"


def _built_in(kind: PluginKind) -> list[Registration[Any, Any]]:
    return [one for one in plugins(kind).values() if is_built_in(one.build)]


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{name}"


def _described(registration: Registration[Any, Any], shared: Mapping[str, Option]) -> Iterator[str]:
    yield f"### {registration.kind} {registration.name}\n"
    yield _text(registration) + "\n"
    own = {
        name: option
        for name, option in options_of(registration.options).items()
        if name not in shared or _facts(option) != _facts(shared[name])
    }
    if own:
        yield _table(own)
    refused = registration.unsupported
    if refused:
        yield "Refused:\n"
        yield "".join(f"- `{name}` {why}\n" for name, why in sorted(refused.items()))


def _alias(known: Registration[Any, Any], other: Registration[Any, Any]) -> Iterator[str]:
    yield f"### {other.kind} {other.name}\n"
    yield f"Another name of [{known.name}](#{_anchor(known.kind, known.name)}).\n"


def _text(registration: Registration[Any, Any]) -> str:
    """The docstring of the plugin's module, without the name that it begins with."""
    text = (sys.modules[registration.build.__module__].__doc__ or "").strip()
    _name, _colon, rest = text.partition(": ")
    return rest[:1].upper() + rest[1:]


def _table(options: Mapping[str, Option]) -> str:
    lines = ["| option | type | default | meaning |", "|---|---|---|---|"]
    # What is required comes first, then the order of the code.
    for option in sorted(options.values(), key=lambda one: not one.required):
        help = option.help.strip().rstrip(".")
        ours = " Ours." if help.endswith(OURS) else ""
        meaning = help.removesuffix(OURS).strip().rstrip(".") + "." + ours
        cells = (f"`{option.name}`", _type(option), _default(option), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(option: Option) -> str:
    kind = "one of " + ", ".join(f"`{one}`" for one in option.choices) if option.choices else option.kind
    return f"array of {kind}" if option.many else kind


def _default(option: Option) -> str:
    value = option.default
    if option.required:
        return "required"
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        shown = value.replace("\n", "\\n")
        return f'`"{shown}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{one}"' for one in value) + "]`"
    return f"`{value}`"


def _facts(option: Option) -> tuple[Any, ...]:
    return (option.kind, option.many, option.default, option.choices, option.required)
