"""What local, gamma and prod start. The one place that knows."""

from __future__ import annotations

from enum import StrEnum


class Environment(StrEnum):
    """Where cht-sync runs: on one's own machine, beside a test CouchDB, beside the real one."""

    LOCAL = "local"
    GAMMA = "gamma"
    PROD = "prod"


SERVICES: dict[Environment, tuple[str, ...]] = {
    Environment.LOCAL: (
        "postgres",
        "couchdb",
        "postgrest",
        "logstash",
        "data-generator",
        "dbt",
        "superset",
    ),
    Environment.GAMMA: ("postgres", "postgrest", "logstash", "dbt", "superset"),
    Environment.PROD: ("postgrest", "logstash", "dbt", "superset"),
}
"""The services of each environment, in the order in which they start; they stop in the reverse order."""

BESIDE: dict[Environment, tuple[str, ...]] = {
    Environment.LOCAL: (),
    Environment.GAMMA: ("load",),
    Environment.PROD: ("load",),
}
"""What an environment starts for its pipelines alone; it ends when there is nothing left for it to do."""

ONCE: tuple[str, ...] = (
    *(f"settings-{one}" for one in Environment),
    "render-config",
    "couchdb-setup",
    "init-db",
    "load",
)
"""What runs once: in containers before the services, and in gamma and prod the load of large databases beside
the pipelines."""

SERVICE_NAMES: tuple[str, ...] = SERVICES[Environment.LOCAL]
"""Every service there is: the words that `--without`, `logs` and `status` know."""
