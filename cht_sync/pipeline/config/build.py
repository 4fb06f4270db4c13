"""Checked tree to pipeline: the plugins are made and joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.check import Checked, CheckedBranch, CheckedPlugin, CheckedStatement
from cht_sync.pipeline.config.problems import flat, in_order, raise_all
from cht_sync.pipeline.config.routing import (
    Chain,
    Choose,
    Route,
    always,
    branch,
    chain,
    choose_all,
    choose_by,
    conditional,
    counted,
    guarded,
    unconditional,
)
from cht_sync.pipeline.contracts import Input, Output
from cht_sync.pipeline.monitor.metrics import PipelineMetrics, PluginMetrics
from cht_sync.pipeline.plugins import PluginContext


@dataclass(frozen=True)
class Pipeline:
    """A pipeline ready to run.

    `filter` takes the events of a batch and returns those that are left, in order; a batch whose
    events were all dropped is acknowledged like any other. `route` says which outputs get which of
    them: every output is named once, some perhaps with no event. `outputs` are all of them.
    `metrics` counts what it does.
    """

    inputs: list[Input]
    filter: Chain
    route: Route
    outputs: list[Output]
    metrics: PipelineMetrics = field(default_factory=lambda: PipelineMetrics(""))

    def close(self) -> None:
        """Close all inputs and outputs."""
        for source in self.inputs:
            source.close()
        for output in self.outputs:
            output.close()


def build(checked: Checked, context: PluginContext) -> Pipeline:
    """Make the plugins of a checked configuration; connects to nothing.

    Raises ConfigError, or ConfigProblems for all plugins that cannot be made.
    """
    problems: list[ConfigError] = []
    pipeline = build_into(problems, checked, context)
    if problems:
        pipeline.close()
    raise_all(in_order(problems))
    return pipeline


def build_into(problems: list[ConfigError], checked: Checked, context: PluginContext) -> Pipeline:
    """As `build`, but what cannot be made is left out, and added to `problems`."""
    builder = _Builder(context, problems)
    inputs = [made[0] for statement in checked.inputs if (made := builder.plugin(statement))]
    steps = builder.filters(checked.filters)
    choices = builder.choices(checked.outputs)
    plain = all(isinstance(statement, CheckedPlugin) for statement in checked.outputs)
    outputs = builder.outputs
    return Pipeline(
        inputs=inputs,
        filter=chain(steps),
        route=unconditional(outputs) if plain else conditional(outputs, choose_all(choices)),
        outputs=outputs,
        metrics=context.metrics,
    )


class _Builder:
    """Makes plugins; those that cannot be made are left out, and why is kept in `problems`."""

    def __init__(self, context: PluginContext, problems: list[ConfigError]) -> None:
        self.outputs: list[Output] = []
        self.problems = problems
        self._context = context

    def plugin(self, statement: CheckedPlugin) -> tuple[Any, PluginMetrics] | None:
        """Make a plugin whose metrics are known."""
        context = self._context
        registration = statement.registration
        metrics = context.metrics.add(registration.kind, registration.name, statement.options)
        try:
            plugin = statement.build(replace(context, plugin_metrics=metrics))
        except ConfigError as error:
            self.problems.extend(flat(error))
            return None
        context.metrics.attach(plugin, metrics)
        return plugin, metrics

    def filters(self, statements: Sequence[CheckedStatement]) -> list[Chain]:
        steps: list[Chain] = []
        for statement in statements:
            if isinstance(statement, CheckedBranch):
                cases = [
                    (guarded(test, statement.place), chain(self.filters(body)))
                    for test, body in statement.cases
                ]
                otherwise = statement.otherwise
                steps.append(branch(cases, None if otherwise is None else chain(self.filters(otherwise))))
            elif made := self.plugin(statement):
                steps.append(counted(*made))
        return steps

    def choices(self, statements: Sequence[CheckedStatement]) -> list[Choose]:
        choices: list[Choose] = []
        for statement in statements:
            if isinstance(statement, CheckedBranch):
                cases = [
                    (guarded(test, statement.place), choose_all(self.choices(body)))
                    for test, body in statement.cases
                ]
                otherwise = statement.otherwise
                choices.append(
                    choose_by(cases, None if otherwise is None else choose_all(self.choices(otherwise)))
                )
            elif made := self.plugin(statement):
                self.outputs.append(made[0])
                choices.append(always(made[0]))
        return choices
