"""Configuration tree to checked tree: every plugin known, every option of the right type.

All problems are found before anything runs; nothing is connected to and no file is written. What follows from
another problem is not said: an option that is wrong by itself takes no part in how options fit together.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.conditions import Test, compile_condition
from cht_sync.pipeline.config.problems import (
    Place,
    in_order,
    nearest,
    nearest_or_all,
    problem,
    raise_all,
)
from cht_sync.pipeline.config.tree import (
    Branch,
    Condition,
    Configuration,
    Plugin,
    Statement,
    is_readable,
)
from cht_sync.pipeline.conversions import WrongValue
from cht_sync.pipeline.options import WRONG_OPTION, Contradictions, Option, Undecided, options_of
from cht_sync.pipeline.plugins import (
    CodecChoice,
    PluginContext,
    PluginKind,
    Registration,
    is_built_in,
    names,
    plugin,
    refusal,
)


@dataclass(frozen=True)
class CheckedPlugin:
    """A plugin with its options, ready to be built."""

    registration: Registration[Any, Any]
    options: Any
    place: Place

    def build(self, context: PluginContext) -> Any:
        """Make the plugin: an Input, a Filter or an Output. A ConfigError gets the plugin's place."""
        try:
            return self.registration.build(self.options, context)
        except ConfigError as error:
            if error.line:
                raise
            raise problem(error.reason, self.place, hint=error.hint) from None


@dataclass(frozen=True)
class CheckedBranch:
    cases: tuple[tuple[Test, Sequence[CheckedStatement]], ...]
    otherwise: Sequence[CheckedStatement] | None
    place: Place


CheckedStatement = CheckedPlugin | CheckedBranch


@dataclass(frozen=True)
class Checked:
    """A configuration that can be built."""

    inputs: list[CheckedPlugin] = field(default_factory=list)
    filters: list[CheckedStatement] = field(default_factory=list)
    outputs: list[CheckedStatement] = field(default_factory=list)


def check(configuration: Configuration, defaults: Mapping[str, Any] | None = None) -> Checked:
    """Look up all plugins and convert all options; `defaults` are values for options that are left out.

    Raises ConfigError for one problem, ConfigProblems for several.
    """
    problems: list[ConfigError] = []
    checked = check_into(problems, configuration, defaults or {})
    raise_all(in_order(problems))
    return checked


def check_into(
    problems: list[ConfigError], configuration: Configuration, defaults: Mapping[str, Any]
) -> Checked:
    """As `check`, but what is wrong is left out, and added to `problems`."""
    checker = _Checker(defaults, problems)
    return Checked(
        inputs=checker.inputs(configuration.inputs),
        filters=checker.statements("filter", configuration.filters),
        outputs=checker.statements("output", configuration.outputs),
    )


class _Checker:
    def __init__(self, defaults: Mapping[str, Any], problems: list[ConfigError]) -> None:
        self._defaults = defaults
        self.problems = problems
        self._ids: dict[str, Place] = {}

    def inputs(self, statements: Sequence[Statement]) -> list[CheckedPlugin]:
        checked = self.statements("input", statements)
        for statement in checked:
            if isinstance(statement, CheckedBranch):
                self._problem("an input cannot depend on a condition", statement.place)
        return [statement for statement in checked if isinstance(statement, CheckedPlugin)]

    def statements(self, kind: PluginKind, statements: Sequence[Statement]) -> list[CheckedStatement]:
        checked: list[CheckedStatement] = []
        for statement in statements:
            if isinstance(statement, Branch):
                checked.append(self._branch(kind, statement))
            elif (known := self._plugin(kind, statement)) is not None:
                checked.append(known)
        return checked

    def _branch(self, kind: PluginKind, branch: Branch) -> CheckedBranch:
        cases = tuple(
            (self._condition(condition), self.statements(kind, body)) for condition, body in branch.cases
        )
        otherwise = None if branch.otherwise is None else self.statements(kind, branch.otherwise)
        return CheckedBranch(cases, otherwise, branch.place)

    def _condition(self, condition: Condition) -> Test:
        try:
            return compile_condition(condition)
        except ConfigError as error:
            self.problems.append(error)
            return lambda _event: False

    def _plugin(self, kind: PluginKind, node: Plugin) -> CheckedPlugin | None:
        registration = plugin(kind, node.name)
        if registration is None:
            reason = refusal(kind, node.name)
            said = _unknown_plugin(kind, node.name) if reason is None else f'{kind} "{node.name}" {reason}'
            self._problem(said, node.place)
            return None
        before = len(self.problems)
        values = self._options(registration, node)
        # That a value is unreadable may have been said before, when the text was read.
        wrong = len(self.problems) > before or any(value is WRONG_OPTION for value in values.values())
        if kind != "codec" and isinstance(name := values.get("id"), str):
            self._check_id(name, node.settings["id"].place)
        options = None
        try:
            options = registration.options(**values)
        except Undecided:
            pass
        except ValueError as error:
            for text in error.reasons if isinstance(error, Contradictions) else (error,):
                self._problem(f'{kind} "{node.name}": {text}', node.place)
        except Exception:
            # A __post_init__ of another package may trip over the option that is wrong.
            if not wrong:
                raise
        return None if wrong or options is None else CheckedPlugin(registration, options, node.place)

    def _check_id(self, name: str, place: Place) -> None:
        first = self._ids.setdefault(name, place)
        if first is not place:
            where = ":".join(map(str, first))
            self._problem(f'the id "{name}" is already that of another plugin ({where})', place)

    def _options(self, registration: Registration[Any, Any], node: Plugin) -> dict[str, Any]:
        whose = f'{registration.kind} "{registration.name}"'
        options = options_of(registration.options)
        # What was probably meant by an unknown name is there, and wrong.
        values: dict[str, Any] = dict.fromkeys(_meant(node, registration, options), WRONG_OPTION)
        for name, setting in node.settings.items():
            if name in registration.unsupported:
                self._problem(f'option "{name}" of {whose} {registration.unsupported[name]}', setting.place)
            elif name not in options:
                self._problem(_unknown_option(name, registration, options), setting.place)
            else:
                values[name] = self._value(options[name], setting.value, setting.place, whose)
        for option in options.values():
            if option.name in values:
                continue
            if option.name in self._defaults:
                values[option.name] = self._value(
                    option, self._defaults[option.name], node.place, f"{whose} (from the settings)"
                )
            elif option.required:
                self._problem(
                    f'{whose} needs the option "{option.name}" ({option.kind}): {option.help}', node.place
                )
                values[option.name] = WRONG_OPTION
            elif option.kind == "codec" and option.default is not None:
                values[option.name] = self._codec(option.default, node.place)
        return values

    def _value(self, option: Option, value: Any, place: Place, whose: str) -> Any:
        if not is_readable(value):
            return WRONG_OPTION
        if option.kind == "codec":
            return self._codec(value, place) or WRONG_OPTION
        try:
            return option.convert(value)
        except WrongValue as error:
            self._problem(f'option "{option.name}" of {whose}: {error}', place)
            return WRONG_OPTION

    def _codec(self, value: Any, place: Place) -> CodecChoice | None:
        node = value if isinstance(value, Plugin) else Plugin(str(value), {}, place)
        checked = self._plugin("codec", node)
        return None if checked is None else CodecChoice(checked.registration, checked.options)

    def _problem(self, message: str, place: Place) -> None:
        self.problems.append(problem(message, place))


def _unknown_plugin(kind: PluginKind, name: str) -> str:
    known = nearest_or_all(name, names(kind), "there are")
    how = "" if known.startswith("; did") else "; how to add one: docs/writing-a-plugin.md"
    return f'unknown {kind} "{name}"{known}{how}'


def _unknown_option(name: str, registration: Registration[Any, Any], options: Mapping[str, Option]) -> str:
    kind, plugin_name = registration.kind, registration.name
    near = nearest(name, options)
    if not near and is_built_in(registration.build):
        near = f"; what it takes: docs/plugins.md#{kind}-{plugin_name}"
    known = near or nearest_or_all(name, options, "it takes")
    return f'unknown option "{name}" of {kind} "{plugin_name}"{known}'


def _meant(
    node: Plugin, registration: Registration[Any, Any], options: Mapping[str, Option]
) -> Iterator[str]:
    for name in node.settings:
        if name not in options and name not in registration.unsupported:
            yield from difflib.get_close_matches(
                name, [one for one in options if one not in node.settings], n=1
            )
