"""What `kubectl kustomize` makes of `deploy/kubernetes/`, and the parts of it that tests look at."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cht_sync.environments import Environment
from cht_sync.settings import CHECKOUT

Object = Mapping[str, Any]

FOLDER = CHECKOUT / "deploy" / "kubernetes"
OLDEST = 5
"""The kustomize that kubectl 1.27 has."""
WORKLOADS = ("Deployment", "StatefulSet", "Job")
ENVIRONMENTS = [pytest.param(one, id=one.value) for one in Environment]


def needs_kubectl() -> None:
    """Skip the test without a kubectl of these years; in CI (CHT_SYNC_TEST_KUBECTL=required) fail."""
    problem = _problem()
    if problem is not None:
        if os.environ.get("CHT_SYNC_TEST_KUBECTL") == "required":
            pytest.fail(problem)
        pytest.skip(f"{problem}; .ci/kubectl installs one")


@functools.cache
def _problem() -> str | None:
    if shutil.which("kubectl") is None:
        return "there is no kubectl here"
    words = ["kubectl", "version", "--client", "--output", "json"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    version: str = json.loads(said or "{}").get("kustomizeVersion", "v2")
    return (
        None if int(version.removeprefix("v").partition(".")[0]) >= OLDEST else f"kustomize {version} is old"
    )


def overlay(environment: Environment) -> list[Object]:
    return rendered(FOLDER / "overlays" / environment.value)


@functools.cache
def rendered(folder: Path) -> list[Object]:
    needs_kubectl()
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def own_overlay(folder: Path, environment: Environment, *components: str, more: str = "") -> list[Object]:
    """An overlay as an operator writes it: on top of ours, with components, in a folder of its own."""
    # kustomize takes no absolute paths.
    there = os.path.relpath(FOLDER.resolve(), folder.resolve())
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "cht-sync",
        "resources": [f"{there}/overlays/{environment.value}"],
        "components": [f"{there}/components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(text) + more)
    return rendered(folder)


def of_kind(objects: Iterable[Object], *kinds: str) -> Iterator[Object]:
    return (one for one in objects if one["kind"] in kinds)


def name_of(one: Object) -> str:
    name: str = one["metadata"]["name"]
    return name


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    (found,) = (one for one in of_kind(objects, kind) if name_of(one) == name)
    return found


def workloads(objects: Iterable[Object]) -> list[Object]:
    return list(of_kind(objects, *WORKLOADS))


def service_of(workload: Object) -> str:
    name: str = workload["metadata"]["labels"]["app.kubernetes.io/name"]
    return name


def pod_of(workload: Object) -> Object:
    pod: Object = workload["spec"]["template"]
    return pod


def containers(workload: Object) -> list[Object]:
    """All containers of its pod, those that run first included."""
    pod = pod_of(workload)["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def container_of(objects: Iterable[Object], service: str) -> Object:
    """The container that is a service: the first one of its pod."""
    (found,) = (one for one in workloads(objects) if name_of(one) == service)
    container: Object = pod_of(found)["spec"]["containers"][0]
    return container


def selects(labels: Mapping[str, str], selector: Object) -> bool:
    """Whether a label selector, of a Service or of anything else, takes these labels."""
    wanted = dict(selector.get("matchLabels", {}))
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return wanted.items() <= labels.items()


def sources(container: Object, pod: Object) -> set[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret that a container can see."""
    volumes = {one["name"]: one for one in pod["spec"].get("volumes", [])}
    found: set[tuple[str, str]] = set()
    for mount in container.get("volumeMounts", []):
        for source in volumes.get(mount["name"], {}).get("projected", {}).get("sources", []):
            found |= {(kind, one["name"]) for kind, one in source.items()}
    for source in container.get("envFrom", []):
        found |= {(kind.removesuffix("Ref"), one["name"]) for kind, one in source.items()}
    return found
