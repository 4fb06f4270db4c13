"""dbt in this process, kept warm.

A cold run spends most of its time on importing dbt and parsing the project. Both happen once here:
the first run parses, later ones use the manifest that it made.
"""

from __future__ import annotations

import importlib.util
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.results import NodeResult, RunOutcome

NO_NODE = "dbt"
"""The name of a failure that belongs to no node."""


class DbtRunner:
    """Runs the models of one project, as often as wanted; not for several threads at once.

    Raises ChtSyncError where dbt is not installed.
    """

    def __init__(self, options: TransformOptions) -> None:
        if importlib.util.find_spec("dbt") is None:
            raise ChtSyncError("dbt is not installed", hint="pip install 'cht-sync[local]', or: make local")
        self._options = options
        self._manifest: Any = None

    def run(self, *, full_refresh: bool = False) -> RunOutcome:
        """Run the selected models once. What fails is in the outcome, never raised."""
        started_at = datetime.now(UTC)
        clock = time.monotonic()
        with _variables(self._options.environment()):
            unparsed = self._parse()
            nodes = (unparsed,) if unparsed else self._run_models(full_refresh)
        return RunOutcome(
            run_id=uuid.uuid4().hex,
            command="run",
            started_at=started_at,
            seconds=time.monotonic() - clock,
            nodes=nodes,
        )

    def _parse(self) -> NodeResult | None:
        if self._manifest is not None:
            return None
        done = self._invoke("parse")
        if not done.success:
            return _failure_of(done)
        self._manifest = done.result
        return None

    def _run_models(self, full_refresh: bool) -> tuple[NodeResult, ...]:
        words = ["--threads", str(self._options.threads)]
        if full_refresh:
            words.append("--full-refresh")
        for selector in self._options.selectors:
            words += ["--select", selector]
        done = self._invoke("run", *words)
        if done.result is None:
            return (_failure_of(done),)
        nodes = tuple(_node(result) for result in done.result.results)
        if not done.success and not any(node.status == "error" for node in nodes):
            return (*nodes, _failure_of(done))
        return nodes

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
                f"--project-dir={self._options.project}",
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
