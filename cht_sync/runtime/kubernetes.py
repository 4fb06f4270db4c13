"""The settings of each service as objects of Kubernetes, for the workloads in `deploy/kubernetes/`.

They take the place of what `settings-<environment>` hands out in containers, and hold the same: each service
gets a ConfigMap and a Secret named `settings-<service>`, and a pod mounts those of its service alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from cht_sync.environments import BESIDE, SERVICES, Environment
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.settings import declared

ONCE: Mapping[Environment, tuple[str, ...]] = {
    Environment.LOCAL: ("render-config", "couchdb-setup", "init-db"),
    Environment.GAMMA: ("render-config", "init-db"),
    Environment.PROD: ("render-config", "init-db"),
}
"""What runs once, before the services."""
TOOL = "cht-sync"
"""The command line where everything can be reached, a component of its own."""
ALSO_PLAIN = (ENVIRONMENT, "postgrest.conf")
"""Beside settings that are no secrets and files of certificates. `postgrest.conf` names files of secrets."""


def settings_of(environment: Environment) -> tuple[str, ...]:
    """Whose settings an environment has. What is beside the pipelines stays here, and serves."""
    return (*ONCE[environment], *SERVICES[environment], *BESIDE[environment], TOOL)


def objects(environment: Environment, found: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    """The ConfigMaps and Secrets of an environment.

    `found` is what is handed out: service -> variable -> value. A variable goes into the Secret unless it is
    known to be none. What would be empty is left out.
    """
    for service in settings_of(environment):
        plain = {name: value for name, value in found[service].items() if is_plain(name)}
        secret = {name: value for name, value in found[service].items() if name not in plain}
        labels = {"app.kubernetes.io/name": service, "app.kubernetes.io/part-of": "cht-sync"}
        metadata = {"name": f"settings-{service}", "labels": labels}
        if plain:
            yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": plain}
        if secret:
            encoded = {name: base64.b64encode(value.encode()).decode() for name, value in secret.items()}
            yield {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata,
                "type": "Opaque",
                "data": encoded,
            }


def is_plain(name: str) -> bool:
    """Whether whoever may look at a ConfigMap may see a variable's value."""
    return name in ALSO_PLAIN or name.endswith(".pem") or name in _PLAIN_SETTINGS


_PLAIN_SETTINGS = frozenset(name for name, variable in declared() if not variable.secret)
