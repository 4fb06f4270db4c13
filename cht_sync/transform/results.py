"""What became of a run of dbt, node by node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cht_sync.transform.messages import without_values

FAILED = frozenset({"error", "fail"})
GOOD = frozenset({"success", "pass", "warn"})


@dataclass(frozen=True)
class NodeResult:
    """What became of one node of the project, or of dbt itself where it failed before any node.

    `name` is the node's name without its package; `kind` dbt's resource type ("model", "test",
    "snapshot", "seed", "operation"; "dbt" where dbt failed before any node). `status` is "success",
    "error" or "skipped" (not tried, because one that it reads failed), of tests "pass", "fail",
    "warn", "error" or "skipped". `seconds` is its duration, `rows` what PostgreSQL said it changed, of
    tests the rows that fail; None where unknown. `message` is what PostgreSQL or dbt said,
    `compiled_path` the file with the SQL that ran, empty where there is none.
    """

    name: str
    unique_id: str
    kind: str
    status: str
    seconds: float = 0.0
    rows: int | None = None
    message: str = ""
    compiled_path: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """One run of dbt: `command` is "run" or "test", `seconds` its whole duration.

    `full_refreshed` are the names of the models that were built anew because they changed.
    `package_origin`, `package_commit` and `package_version` say which package ran, as in `Package`.
    `partial` is a run of tests that is no whole pass: somebody chose some, or other variables, by hand.
    """

    run_id: str
    command: str
    started_at: datetime
    seconds: float
    nodes: tuple[NodeResult, ...] = ()
    full_refreshed: tuple[str, ...] = ()
    package_origin: str = ""
    package_commit: str | None = None
    package_version: str = ""
    partial: bool = False

    @property
    def succeeded(self) -> bool:
        return not self.failures

    @property
    def result(self) -> str:
        """As it stands in the table and in `status --json`."""
        return "success" if self.succeeded else "failed"

    @property
    def failures(self) -> tuple[NodeResult, ...]:
        """The nodes that failed."""
        return tuple(node for node in self.nodes if node.status in FAILED)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the nodes that were not tried because one that they read failed."""
        return tuple(node.name for node in self.nodes if node.status == "skipped")

    @property
    def models(self) -> int:
        """How many models were built."""
        return sum(node.kind == "model" and node.status == "success" for node in self.nodes)

    @property
    def selected(self) -> bool:
        """Whether there was anything to do, hooks apart."""
        return any(node.kind != "operation" for node in self.nodes)

    @property
    def built(self) -> int:
        """How many nodes did what they should: models that were built, tests that passed or only warned."""
        return sum(node.kind != "operation" and node.status in GOOD for node in self.nodes)

    @property
    def rows(self) -> int:
        """How many rows the models changed, as far as PostgreSQL said."""
        return sum(node.rows or 0 for node in self.nodes if node.kind == "model" and node.status == "success")

    def without_values(self) -> RunOutcome:
        """The same with messages that say nothing of what is in documents."""
        nodes = tuple(replace(node, message=without_values(node.message)) for node in self.nodes)
        return replace(self, nodes=nodes)
