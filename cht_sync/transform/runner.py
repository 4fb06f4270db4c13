"""dbt in this process, kept warm.

A cold run spends most of its time on importing dbt and parsing the project. Both happen once here:
the first run parses, later ones use the manifest that it made.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder
from cht_sync.transform.changed_models import Stamp, State, built_anew, find_changed, stamp, variables_of
from cht_sync.transform.changes import connected
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import Package, PackageStore
from cht_sync.transform.package.dependencies import read_yaml
from cht_sync.transform.package.prepare import MACROS, PROJECT_FILE, SECRETS
from cht_sync.transform.results import FAILED, NodeResult, RunOutcome

LOG_BYTES = 5_000_000
"""Size at which dbt begins a new log; it keeps five."""
NO_NODE = "dbt"
"""The name of a failure that belongs to no node."""

log = logging.getLogger(__name__)


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
        self._written_manifest = b""
        self._pending: frozenset[str] | None = None
        self._state: Stamp = None
        self._said: set[str] = set()

    def run(
        self, *, full_refresh: bool = False, select: Collection[str] = (), exclude: Collection[str] = ()
    ) -> RunOutcome:
        """Run the selected models once. What fails is in the outcome, never raised.

        `select` narrows the options' selectors, `exclude` adds to what they exclude; both as dbt's.
        Models that changed since their tables were made are built anew by the same run. Raises
        psycopg2.Error where it cannot be told which these are.
        """
        words = self._chosen(select, exclude)
        return self._outcome("run", ["--full-refresh", *words] if full_refresh else words)

    def test(self, *, select: Collection[str] = (), exclude: Collection[str] = ()) -> RunOutcome:
        """Run the tests of the selected models once, chosen as in `run`; what fails is in the outcome."""
        return self._outcome("test", self._chosen(select, exclude))

    def knows(self, unique_id: str) -> bool:
        """Whether the package has such a node; all are taken for known where it cannot be parsed."""
        return self._manifest is None or unique_id in self._manifest.nodes

    def tests(self) -> tuple[str, ...]:
        """The names of all tests of the package, whatever is selected; none where it cannot be parsed."""
        with _surroundings(self._options.environment()):
            if self._parse() is not None:
                return ()
        nodes = (*self._manifest.nodes.values(), *self._manifest.unit_tests.values())
        return tuple(node.name for node in nodes if node.resource_type in ("test", "unit_test"))

    def _outcome(self, command: str, words: Sequence[str]) -> RunOutcome:
        started_at = datetime.now(UTC)
        clock = time.monotonic()
        refreshed: tuple[NodeResult, ...] = ()
        with _surroundings(self._options.environment()):
            unparsed = self._parse()
            if unparsed:
                nodes: tuple[NodeResult, ...] = (unparsed,)
            elif command == "run":
                nodes, refreshed = self._run_models(words)
            else:
                nodes = self._nodes(command, [*words, *self._vars()])
        return RunOutcome(
            run_id=uuid.uuid4().hex,
            command=command,
            started_at=started_at,
            seconds=time.monotonic() - clock,
            nodes=nodes,
            full_refreshed=tuple(node.name for node in refreshed),
            package_origin=self._package.origin,
            package_commit=self._package.commit,
            package_version=self._package.version,
        )

    def _run_models(self, words: Sequence[str]) -> tuple[tuple[NodeResult, ...], tuple[NodeResult, ...]]:
        """Run the models; return all results, and those of the changed models that were built anew."""
        pending = self._changed()
        for uid in pending:
            self._manifest.nodes[uid].config.full_refresh = True
        try:
            # A part of the documents must not take the place of all of them.
            whole = bool(pending) or "--full-refresh" in words
            nodes = self._nodes("run", [*words, *self._vars(whole=whole)])
        finally:
            for uid in pending:
                self._manifest.nodes[uid].config.full_refresh = None
        built = tuple(node for node in nodes if node.unique_id in pending and node.status == "success")
        if built:
            with connected(self._options) as connection:
                built_anew(connection, self._options.schema, [node.unique_id for node in built])
                self._state = stamp(connection, self._options.schema)
            self._pending = pending - {node.unique_id for node in built}
        return nodes, built

    def _changed(self) -> frozenset[str]:
        """The models that changed and have not been built anew since.

        Found out once for a manifest, and again where the tables are no longer known to be of it:
        another process ran another package or other variables, or a backup was restored.
        """
        with connected(self._options) as connection:
            if self._pending is None or stamp(connection, self._options.schema) != self._state:
                project = read_yaml(self._package.project / PROJECT_FILE)
                now = State(
                    json.loads(zlib.decompress(self._written_manifest)),
                    variables_of(project, self._options.vars),
                    frozenset(),
                )
                self._pending = find_changed(connection, self._options.schema, now, self._modified_since)
                self._state = stamp(connection, self._options.schema)
        return self._pending

    def _modified_since(self, state: Path) -> frozenset[str]:
        done = self._invoke(
            "ls", "--quiet", "--select", "state:modified+", "--state", str(state),
            "--resource-type", "model", "--output", "json", "--output-keys", "unique_id", *self._vars(),
        )  # fmt: skip
        if not done.success:
            raise ChtSyncError(_failure_of(done).message)
        return frozenset(json.loads(line)["unique_id"] for line in done.result)

    def _parse(self) -> NodeResult | None:
        if self._manifest is not None:
            return None
        done = self._invoke("parse", *self._vars())
        if not done.success:
            return _failure_of(done)
        # Kept, since every other process of this work folder writes the same file.
        written = (self._options.work_folder / "target" / "manifest.json").read_bytes()
        self._written_manifest = zlib.compress(written)
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
        # What dbt would write of a run takes a third of its time, and nobody reads it.
        done = self._invoke(command, "--no-write-json", *words)
        if done.result is None:
            return (_failure_of(done),)
        nodes = tuple(_node(result) for result in done.result.results if not _is_our_hook(result))
        if not done.success and not any(node.status in FAILED for node in nodes):
            return (*nodes, _failure_of(done))
        return nodes

    def _vars(self, *, whole: bool = False) -> list[str]:
        values = self._options.variables()
        if whole:
            values.pop("batch_size", None)
        return ["--vars", json.dumps(values)] if values else []

    def _invoke(self, command: str, *words: str) -> Any:
        from dbt.cli.main import dbtRunner  # noqa: PLC0415 (a second, which only those who run it should pay)

        work = private_folder(self._options.work_folder)
        done = dbtRunner(manifest=self._manifest, callbacks=[self._hear]).invoke(
            [
                "--log-level=none",
                "--log-level-file=info",
                f"--log-file-max-bytes={LOG_BYTES}",
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

    def _hear(self, event: Any) -> None:
        """Pass on, once, what our own macros have to say."""
        message = str(event.info.msg)
        if (
            event.info.name == "JinjaLogInfo"
            and message.startswith(f"{MACROS}: ")
            and message not in self._said
        ):
            self._said.add(message)
            log.warning("%s", message.removeprefix(f"{MACROS}: "))


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


def _is_our_hook(result: Any) -> bool:
    return result.node.package_name == MACROS and str(result.status) in ("success", "pass")


@contextmanager
def _surroundings(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables, hide secrets, let files be readable by their owner only; put back what was there."""
    before = {name: os.environ.get(name) for name in {*variables, *SECRETS}}
    for name in SECRETS:
        os.environ.pop(name, None)
    os.environ.update(variables)
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
