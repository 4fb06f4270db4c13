"""Checked tree to pipeline: the plugins are made and joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cht_sync.pipeline.config.check import Checked, CheckedPlugin, CheckedStatement
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
    """Make the plugins of a checked configuration; connects to nothing. May raise ConfigError."""
    outputs: list[Output] = []
    choices = list(_choices(checked.outputs, context, outputs))
    plain = all(isinstance(statement, CheckedPlugin) for statement in checked.outputs)
    return Pipeline(
        inputs=[_made(statement, context)[0] for statement in checked.inputs],
        filter=chain(list(_filters(checked.filters, context))),
        route=unconditional(outputs) if plain else conditional(outputs, choose_all(choices)),
        outputs=outputs,
        metrics=context.metrics,
    )


def _made(statement: CheckedPlugin, context: PluginContext) -> tuple[Any, PluginMetrics]:
    """Make a plugin whose metrics are known."""
    registration = statement.registration
    metrics = context.metrics.add(registration.kind, registration.name, statement.options)
    plugin = statement.build(replace(context, plugin_metrics=metrics))
    context.metrics.attach(plugin, metrics)
    return plugin, metrics


def _filters(statements: Sequence[CheckedStatement], context: PluginContext) -> Iterator[Chain]:
    for statement in statements:
        if isinstance(statement, CheckedPlugin):
            yield counted(*_made(statement, context))
        else:
            cases = [
                (guarded(test, statement.place), chain(list(_filters(body, context))))
                for test, body in statement.cases
            ]
            otherwise = statement.otherwise
            yield branch(cases, None if otherwise is None else chain(list(_filters(otherwise, context))))


def _choices(
    statements: Sequence[CheckedStatement], context: PluginContext, outputs: list[Output]
) -> Iterator[Choose]:
    for statement in statements:
        if isinstance(statement, CheckedPlugin):
            outputs.append(_made(statement, context)[0])
            yield always(outputs[-1])
        else:
            cases = [
                (guarded(test, statement.place), choose_all(list(_choices(body, context, outputs))))
                for test, body in statement.cases
            ]
            otherwise = statement.otherwise
            yield choose_by(
                cases,
                None if otherwise is None else choose_all(list(_choices(otherwise, context, outputs))),
            )
