"""What the transformation needs to know, and what dbt is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TransformOptions:
    """Where the models are, where they read and write, and how they are run.

    `url` is the package's address (CHT_PIPELINE_BRANCH_URL; empty: `project`, our own folder), `token`
    opens it, `update_interval` is the seconds between two looks for a new version (0: none).
    `profiles` is the folder with `profiles.yml`. Whatever dbt writes (its target and its log) goes
    below `work_folder`. `schema` is where models write, `raw_schema` where documents are, `model_table`
    the relation in it that the real cht-pipeline reads.

    `interval` is the least number of seconds between two runs, `test_interval` that between two runs
    of the package's tests (0: never), `couch2pg_interval` that between two refreshes of the views for
    couch2pg's users (0: never). `selectors` and `exclude` are dbt's `--select` and `--exclude`;
    no selector means everything. `batch_size` becomes the variable of that name (None: not given),
    `vars` all others. Results are kept `results_days` days; `metrics_port` serves `/metrics` and
    `/healthz` on loopback (0: not at all).
    """

    project: Path
    profiles: Path
    work_folder: Path
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: str = "prefer"
    sslrootcert: str = ""
    schema: str = "dbt"
    raw_schema: str = "v1"
    model_table: str = "couchdb"
    interval: float = 5.0
    selectors: tuple[str, ...] = ()
    threads: int = 2
    full_refresh: bool = False
    url: str = ""
    token: str = field(default="", repr=False)
    update_interval: float = 300.0
    exclude: tuple[str, ...] = ()
    batch_size: int | None = None
    vars: Mapping[str, Any] = field(default_factory=dict)
    couch2pg_interval: float = 0.0
    test_interval: float = 3600.0
    results_days: int = 14
    metrics_port: int = 0

    @property
    def selection(self) -> str:
        """The selectors in dbt's words, empty where everything is selected."""
        words = [("--select", one) for one in self.selectors] + [("--exclude", one) for one in self.exclude]
        return " ".join(f"{option} {one}" for option, one in words)

    def variables(self) -> dict[str, Any]:
        """What dbt is given as `--vars`."""
        return {**self.vars, **({} if self.batch_size is None else {"batch_size": self.batch_size})}

    def environment(self) -> dict[str, str]:
        """The variables that our profile and both generations of the real cht-pipeline read.

        ROOT_POSTGRES_SCHEMA is what packages of 2023 call the schema of the documents.
        """
        return {
            "DBT_POSTGRES_HOST": self.host,
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "DBT_POSTGRES_USER": self.user,
            "DBT_POSTGRES_PASSWORD": self.password,
            "POSTGRES_DB": self.database,
            "POSTGRES_SSLMODE": self.sslmode,
            "POSTGRES_SSLROOTCERT": self.sslrootcert,
            "DBT_POSTGRES_SCHEMA": self.schema,
            "POSTGRES_SCHEMA": self.raw_schema,
            "ROOT_POSTGRES_SCHEMA": self.raw_schema,
            "POSTGRES_TABLE": self.model_table,
            "DBT_THREADS": str(self.threads),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
            # Short queries again and again: compiling them takes longer than running them.
            "PGOPTIONS": "-c jit=off",
        }
