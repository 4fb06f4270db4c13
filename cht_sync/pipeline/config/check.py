"""Configuration tree to checked tree: every plugin known, every option of the right type.

All problems are found before anything is built; nothing is connected to and no file is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.conditions import Test, compile_condition
from cht_sync.pipeline.config.problems import Place, nearest, problem, raise_all
from cht_sync.pipeline.config.tree import Branch, Condition, Configuration, Plugin, Statement
from cht_sync.pipeline.conversions import WrongValue
from cht_sync.pipeline.options import Option, options_of
from cht_sync.pipeline.plugins import (
    CodecChoice,
    PluginContext,
    PluginKind,
    Registration,
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
    checker = _Checker(defaults or {})
    checked = Checked(
        inputs=checker.inputs(configuration.inputs),
        filters=checker.statements("filter", configuration.filters),
        outputs=checker.statements("output", configuration.outputs),
    )
    raise_all(checker.problems)
    return checked


class _Checker:
    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = defaults
        self.problems: list[ConfigError] = []
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
            said = f'unknown {kind} "{node.name}"{nearest(node.name, names(kind))}'
            self._problem(said if reason is None else f'{kind} "{node.name}" {reason}', node.place)
            return None
        before = len(self.problems)
        values = self._options(registration, node)
        if len(self.problems) > before:
            return None
        try:
            options = registration.options(**values)
        except ValueError as error:
            self._problem(f'{kind} "{node.name}": {error}', node.place)
            return None
        if kind != "codec" and options.id is not None:
            self._check_id(options.id, node.settings["id"].place)
        return CheckedPlugin(registration, options, node.place)

    def _check_id(self, name: str, place: Place) -> None:
        first = self._ids.setdefault(name, place)
        if first is not place:
            where = ":".join(map(str, first))
            self._problem(f'the id "{name}" is already that of another plugin ({where})', place)

    def _options(self, registration: Registration[Any, Any], node: Plugin) -> dict[str, Any]:
        whose = f'{registration.kind} "{registration.name}"'
        options = options_of(registration.options)
        values: dict[str, Any] = {}
        for name, setting in node.settings.items():
            if name in registration.unsupported:
                self._problem(f'option "{name}" of {whose} {registration.unsupported[name]}', setting.place)
            elif name not in options:
                self._problem(f'unknown option "{name}" of {whose}{nearest(name, options)}', setting.place)
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
                self._problem(f'{whose} needs the option "{option.name}"', node.place)
            elif option.kind == "codec" and option.default is not None:
                values[option.name] = self._codec(option.default, node.place)
        return values

    def _value(self, option: Option, value: Any, place: Place, whose: str) -> Any:
        if option.kind == "codec":
            return self._codec(value, place)
        try:
            return option.convert(value)
        except WrongValue as error:
            self._problem(f'option "{option.name}" of {whose}: {error}', place)
            return None

    def _codec(self, value: Any, place: Place) -> CodecChoice | None:
        node = value if isinstance(value, Plugin) else Plugin(str(value), {}, place)
        checked = self._plugin("codec", node)
        return None if checked is None else CodecChoice(checked.registration, checked.options)

    def _problem(self, message: str, place: Place) -> None:
        self.problems.append(problem(message, place))
