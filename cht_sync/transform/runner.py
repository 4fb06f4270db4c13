"""dbt in this process, kept warm.

A cold run spends most of its time on importing dbt and parsing the project. Both happen once here:
the first run parses, later ones use the manifest that it made.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import Package, PackageStore
from cht_sync.transform.results import FAILED, NodeResult, RunOutcome

NO_NODE = "dbt"
"""The name of a failure that belongs to no node."""


class DbtRunner:
    """Runs the models of one project, as often as wanted; not for several threads at once.

    Raises ChtSyncError where dbt is not installed.
    """

    def __init__(self, options: TransformOptions, package: Package | None = None) -> None:
        if importlib.util.find_spec("dbt") is None:
            raise ChtSyncError("dbt is not installed", hint="pip install 'cht-sync[local]', or: make local")
        self._options = options
        self._package = package or PackageStore(options).current()
        self._manifest: Any = None

    def run(
        self, *, full_refresh: bool = False, select: Collection[str] = (), exclude: Collection[str] = ()
    ) -> RunOutcome:
        """Run the selected models once. What fails is in the outcome, never raised.

        `select` narrows the options' selectors, `exclude` adds to what they exclude; both as dbt's.
        """
        words = self._chosen(select, exclude)
        return self._outcome("run", ["--full-refresh", *words] if full_refresh else words)

    def test(self, *, select: Collection[str] = (), exclude: Collection[str] = ()) -> RunOutcome:
        """Run the tests of the selected models once, chosen as in `run`; what fails is in the outcome."""
        return self._outcome("test", self._chosen(select, exclude))

    def tests(self) -> tuple[str, ...]:
        """The names of all tests of the package, whatever is selected; none where it cannot be parsed."""
        with _variables(self._options.environment()):
            if self._parse() is not None:
                return ()
        nodes = (*self._manifest.nodes.values(), *self._manifest.unit_tests.values())
        return tuple(node.name for node in nodes if node.resource_type in ("test", "unit_test"))

    def _outcome(self, command: str, words: Sequence[str]) -> RunOutcome:
        started_at = datetime.now(UTC)
        clock = time.monotonic()
        with _variables(self._options.environment()):
            unparsed = self._parse()
            nodes = (unparsed,) if unparsed else self._nodes(command, words)
        return RunOutcome(
            run_id=uuid.uuid4().hex,
            command=command,
            started_at=started_at,
            seconds=time.monotonic() - clock,
            nodes=nodes,
            package_origin=self._package.origin,
            package_commit=self._package.commit,
        )

    def _parse(self) -> NodeResult | None:
        if self._manifest is not None:
            return None
        done = self._invoke("parse", *self._vars())
        if not done.success:
            return _failure_of(done)
        self._manifest = done.result
        return None

    def _chosen(self, select: Collection[str], exclude: Collection[str]) -> list[str]:
        words = ["--threads", str(self._options.threads)]
        wide = self._options.selectors
        # A comma means both, words beside each other mean either.
        narrow = (
            [f"{one},{other}" for one in wide for other in select] if wide and select else [*wide, *select]
        )
        for selector in narrow:
            words += ["--select", selector]
        for selector in (*self._options.exclude, *exclude):
            words += ["--exclude", selector]
        return words

    def _nodes(self, command: str, words: Sequence[str]) -> tuple[NodeResult, ...]:
        done = self._invoke(command, *words, *self._vars())
        if done.result is None:
            return (_failure_of(done),)
        nodes = tuple(_node(result) for result in done.result.results)
        if not done.success and not any(node.status in FAILED for node in nodes):
            return (*nodes, _failure_of(done))
        return nodes

    def _vars(self) -> list[str]:
        values = self._options.variables()
        return ["--vars", json.dumps(values)] if values else []

    def _invoke(self, command: str, *words: str) -> Any:
        from dbt.cli.main import dbtRunner  # noqa: PLC0415 (a second, which only those who run it should pay)

        work = private_folder(self._options.work_folder)
        done = dbtRunner(manifest=self._manifest).invoke(
            [
                "--log-level=none",
                "--log-level-file=info",
                "--log-format-file=text",
                "--no-use-colors",
                "--no-use-colors-file",
                "--no-send-anonymous-usage-stats",
                "--no-version-check",
                "--partial-parse",
                f"--log-path={work / 'logs'}",
                command,
                *words,
                f"--target-path={work / 'target'}",
                f"--project-dir={self._package.project}",
                f"--profiles-dir={self._options.profiles}",
            ]
        )
        if isinstance(done.exception, KeyboardInterrupt):
            raise done.exception
        return done


def _node(result: Any) -> NodeResult:
    rows = (result.adapter_response or {}).get("rows_affected")
    return NodeResult(
        name=result.node.name,
        unique_id=result.node.unique_id,
        kind=str(result.node.resource_type),
        status=str(result.status),
        seconds=result.execution_time,
        rows=rows if isinstance(rows, int) and rows >= 0 else None,
        message=result.message or "",
        compiled_path=getattr(result.node, "compiled_path", None) or "",
    )


def _failure_of(done: Any) -> NodeResult:
    message = str(done.exception or "failed without a reason; see dbt.log")
    return NodeResult(NO_NODE, "", "dbt", "error", message=message)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put those that were there before back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
