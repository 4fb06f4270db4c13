"""Plugins: the registry, and the context that they are built in.

A plugin is one module, from top to bottom its options, its registration, its work::

    @dataclass(frozen=True)
    class Options(FilterOptions):
        source: str = option("string", required=True, help="The field that holds the JSON text.")

    @register_filter("json", Options)
    def build(options: Options, context: PluginContext) -> Filter: ...

A builder connects to nothing: connections are made when the plugin is first used. A new module in
one of the packages `inputs`, `filters`, `outputs` and `codecs` is found by being there; one of another
Python package by its entry point (see `third_party`). All that a plugin's module needs to declare itself
can be imported from here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from cht_sync.errors import ConfigError
from cht_sync.pipeline import third_party
from cht_sync.pipeline.common_options import (
    CodecOptions,
    FilterOptions,
    InputOptions,
    OutputOptions,
    check_templates,
)
from cht_sync.pipeline.contracts import Filter, Input, Output
from cht_sync.pipeline.conversions import CONVERSIONS, Password
from cht_sync.pipeline.dead_letter import MOST_BYTES, DeadLetterFile
from cht_sync.pipeline.dead_letters.line import Origin
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import PipelineMetrics, PluginMetrics
from cht_sync.pipeline.options import Contradictions, Option, option, options_of, whole

__all__ = [
    "Codec",
    "CodecChoice",
    "CodecOptions",
    "Contradictions",
    "Decoder",
    "FilterOptions",
    "InputOptions",
    "Option",
    "OutputOptions",
    "Password",
    "PluginContext",
    "PluginKind",
    "Registration",
    "check_templates",
    "is_built_in",
    "names",
    "option",
    "options_of",
    "plugin",
    "plugins",
    "refusal",
    "refusals",
    "refuse",
    "register_codec",
    "register_filter",
    "register_input",
    "register_output",
    "whole",
]

PluginKind = Literal["input", "filter", "output", "codec"]

_PACKAGES: dict[PluginKind, str] = {
    "input": "cht_sync.pipeline.inputs",
    "filter": "cht_sync.pipeline.filters",
    "output": "cht_sync.pipeline.outputs",
    "codec": "cht_sync.pipeline.codecs",
}


OptionsType = TypeVar("OptionsType")
AnyPlugin = TypeVar("AnyPlugin", bound=PluginMetrics)


class Codec(Protocol):
    """How an event becomes bytes."""

    def encode(self, event: Event) -> bytes:
        """Return the event as bytes, the end of the line included where there is one."""


@runtime_checkable
class Decoder(Codec, Protocol):
    """A codec that also makes events of bytes."""

    delimiter: bytes
    """What ends a unit where an input reads a stream; inputs that have lines or messages do not need it."""
    most_bytes: int
    """The longest unit of a stream."""

    def decode(self, unit: bytes) -> list[Event]:
        """Return the events of one unit; never raises: what cannot be read is an event that says so."""


@dataclass(frozen=True)
class PluginContext:
    """What a plugin may know of the pipeline it belongs to.

    `metrics` are those of the pipeline. A plugin that counts more than the engine counts for it takes its own
    ones from `metrics_of`. `python_filter` says whether the command line allows the filter `python`.
    `option_defaults` are what the settings of the pipeline say for options that its configuration leaves out,
    by name, for all plugins that have them: Logstash's `pipeline.ecs_compatibility` is one.
    `dead_letter_folder` is that of the setting path.dead_letter_queue, None for the usual one, and
    `dead_letter_bytes` how many its file may have; `dead_letter_store` takes the place of the file.
    `batch_size` and `batch_delay` (seconds) are those of the settings pipeline.batch, None where they are not
    set.
    """

    pipeline_id: str
    data_folder: Path
    metrics: PipelineMetrics = field(default_factory=lambda: PipelineMetrics(""))
    plugin_metrics: PluginMetrics | None = None
    python_filter: bool = False
    option_defaults: Mapping[str, Any] = field(default_factory=dict)
    dead_letter_folder: Path | None = None
    dead_letter_bytes: int = MOST_BYTES
    dead_letter_store: Callable[[Origin], DeadLetterFile] | None = None
    batch_size: int | None = None
    batch_delay: float | None = None

    @property
    def dead_letters(self) -> Path:
        """The folder of the pipelines' dead letters."""
        return self.dead_letter_folder or self.data_folder / "dead_letter_queue"

    def dead_letter_file(self, address: str) -> DeadLetterFile:
        """Where the output that is being built keeps what is refused for good.

        `address` is where it delivers, without credentials.
        """
        metrics = self.plugin_metrics or PluginMetrics("output", "", "", shown=False)
        sources = {one.source for one in self.metrics.inputs if one.source is not None}
        origin = Origin(
            self.pipeline_id,
            metrics.kind,
            metrics.name or None,
            metrics.id or None,
            address,
            sources.pop().partition("/")[2] if len(sources) == 1 else None,
        )
        if self.dead_letter_store is not None:
            return self.dead_letter_store(origin)
        return DeadLetterFile(
            self.data_folder, self.pipeline_id, self.dead_letter_folder, self.dead_letter_bytes, origin
        )

    def metrics_of(self, kind: type[AnyPlugin]) -> AnyPlugin:
        """Return the metrics of the plugin that is being built; ones that nobody sees outside a pipeline."""
        metrics = self.plugin_metrics
        return metrics if isinstance(metrics, kind) else kind("", "", "", shown=False)


Built = TypeVar("Built")


@dataclass(frozen=True)
class Registration(Generic[OptionsType, Built]):
    """One known plugin. `unsupported` names options of Logstash's plugin that this one refuses, and why."""

    kind: PluginKind
    name: str
    options: type[OptionsType]
    build: Callable[[OptionsType, PluginContext], Built]
    unsupported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CodecChoice:
    """The value of an option of kind codec: which one, with its own options."""

    registration: Registration[Any, Codec]
    options: Any

    def build(self, context: PluginContext) -> Codec:
        """Make the codec."""
        return self.registration.build(self.options, context)

    def build_decoder(self, context: PluginContext) -> Decoder:
        """Make the codec for an input. Raises ConfigError where it cannot decode."""
        codec = self.build(context)
        if not isinstance(codec, Decoder):
            raise ConfigError(
                f'codec "{self.registration.name}" cannot read events, only write them',
                hint="Use plain, line, json or json_lines in inputs.",
            )
        return codec


_registry: dict[tuple[PluginKind, str], Registration[Any, Any]] = {}
_refused: dict[tuple[PluginKind, str], str] = {}
_broken: dict[tuple[PluginKind, str], str] = {}
"""Why plugins of other packages cannot be used."""


def _register(
    kind: PluginKind, name: str, options: type[OptionsType], unsupported: Mapping[str, str] | None
) -> Callable[[Callable[[OptionsType, PluginContext], Built]], Callable[[OptionsType, PluginContext], Built]]:
    def register(
        build: Callable[[OptionsType, PluginContext], Built],
    ) -> Callable[[OptionsType, PluginContext], Built]:
        known = _registry.get((kind, name))
        if known is not None and not _may_replace(known.build, build):
            raise ValueError(f'{kind} "{name}" is registered by {known.build.__module__} already')
        _registry[kind, name] = Registration(kind, name, options, build, unsupported or {})
        return build

    return register


def _may_replace(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    return is_built_in(new) or known.__module__ == new.__module__


def is_built_in(build: Callable[..., Any]) -> bool:
    """Whether a builder is one of the engine's own."""
    return build.__module__.startswith(tuple(f"{package}." for package in _PACKAGES.values()))


Builder = Callable[[OptionsType, PluginContext], Built]


def register_input(
    name: str, options: type[OptionsType], *, unsupported: Mapping[str, str] | None = None
) -> Callable[[Builder[OptionsType, Input]], Builder[OptionsType, Input]]:
    """Register the builder of an input under the name that configurations use."""
    return _register("input", name, options, unsupported)


def register_filter(
    name: str, options: type[OptionsType], *, unsupported: Mapping[str, str] | None = None
) -> Callable[[Builder[OptionsType, Filter]], Builder[OptionsType, Filter]]:
    """Register the builder of a filter under the name that configurations use."""
    return _register("filter", name, options, unsupported)


def register_output(
    name: str, options: type[OptionsType], *, unsupported: Mapping[str, str] | None = None
) -> Callable[[Builder[OptionsType, Output]], Builder[OptionsType, Output]]:
    """Register the builder of an output under the name that configurations use."""
    return _register("output", name, options, unsupported)


def register_codec(
    name: str, options: type[OptionsType], *, unsupported: Mapping[str, str] | None = None
) -> Callable[[Builder[OptionsType, Codec]], Builder[OptionsType, Codec]]:
    """Register the builder of a codec under the name that configurations use."""
    return _register("codec", name, options, unsupported)


def refuse(kind: PluginKind, name: str, reason: str) -> None:
    """Say why a plugin that Logstash has is refused, and what to use instead."""
    _refused[kind, name] = reason


def refusal(kind: PluginKind, name: str) -> str | None:
    """Return why a plugin is refused, one of Logstash or of another package; None where that is not known."""
    _import_built_in()
    return _broken.get((kind, name)) or _refused.get((kind, name))


def refusals(kind: PluginKind) -> dict[str, str]:
    """Return the plugins of Logstash that are refused, by name, and why."""
    _import_built_in()
    return {name: reason for (of_kind, name), reason in sorted(_refused.items()) if of_kind == kind}


def plugins(kind: PluginKind) -> dict[str, Registration[Any, Any]]:
    """Return all plugins of a kind by name."""
    _import_built_in()
    return {name: entry for (of_kind, name), entry in sorted(_registry.items()) if of_kind == kind}


def plugin(kind: PluginKind, name: str) -> Registration[Any, Any] | None:
    """Return one plugin, None where the name is unknown, or refused."""
    _import_built_in()
    if (kind, name) not in _registry:
        _load_third_party(kind, name)
    return _registry.get((kind, name))


def names(kind: PluginKind) -> set[str]:
    """Return the names of all plugins of a kind, those of other packages as well."""
    return {*plugins(kind), *third_party.offered(kind)}


def _load_third_party(kind: PluginKind, name: str) -> None:
    try:
        package = third_party.load(kind, name)
        if package is None:
            return
        registration = _registry.pop((kind, name), None)
        if registration is None:
            raise third_party.Broken(f'of {package} does not call register_{kind}("{name}", ...)')
        if not _declares_options(registration.options):
            raise third_party.Broken(f"of {package} has options that are not declared by `option`")
    except third_party.Broken as broken:
        _broken[kind, name] = str(broken)
        return
    _broken.pop((kind, name), None)
    _registry[kind, name] = replace(registration, build=third_party.guarded(package, registration.build))


def _declares_options(options: type[Any]) -> bool:
    try:
        return all(one.kind in CONVERSIONS for one in options_of(options).values())
    except (TypeError, KeyError):
        return False


@cache
def _import_built_in() -> None:
    for package_name in _PACKAGES.values():
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__, f"{package_name}."):
            importlib.import_module(module.name)
