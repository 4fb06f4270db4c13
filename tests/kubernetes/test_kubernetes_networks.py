"""Who reaches whom: the same as by the networks of docker-compose.yml, and nothing from outside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import (
    ENVIRONMENTS,
    Object,
    named,
    of_kind,
    overlay,
    own_overlay,
    pod_of,
    selects,
    service_of,
    workloads,
)

from cht_sync.environments import Environment
from cht_sync.runtime.kubernetes import TOOL
from cht_sync.settings import CHECKOUT

COMPOSE: Any = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]


def labels_of(objects: list[Object]) -> dict[str, dict[str, str]]:
    return {service_of(one): pod_of(one)["metadata"]["labels"] for one in workloads(objects)}


def rules_of(objects: list[Object], labels: dict[str, str], direction: str) -> list[Object] | None:
    """The rules that hold for a pod; None where no policy does, and all may pass."""
    found = [
        one["spec"]
        for one in of_kind(objects, "NetworkPolicy")
        if direction in one["spec"]["policyTypes"] and selects(labels, one["spec"]["podSelector"])
    ]
    if not found:
        return None
    return [rule for spec in found for rule in spec.get(direction.lower(), [])]


def peers(rules: list[Object], key: str) -> Iterator[Object]:
    for rule in rules:
        assert rule.get(key), "a rule without peers is one for the whole world"
        yield from rule[key]


def reaches(objects: list[Object], one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether a pod of ours may open a connection to another by the rules for pods."""
    outgoing, incoming = rules_of(objects, one, "Egress"), rules_of(objects, other, "Ingress")
    assert outgoing is not None, "nothing holds a pod back"
    assert incoming is not None, "nothing protects a pod"
    return any(
        selects(other, peer["podSelector"]) for peer in peers(outgoing, "to") if "podSelector" in peer
    ) and any(selects(one, peer["podSelector"]) for peer in peers(incoming, "from") if "podSelector" in peer)


def assert_reach_is_that_of_compose(objects: list[Object]) -> None:
    labels = labels_of(objects)
    for one, other in itertools.permutations(labels, 2):
        share = bool(set(COMPOSE[one]["networks"]) & set(COMPOSE[other]["networks"]))
        assert reaches(objects, labels[one], labels[other]) is share, (one, other)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_who_reaches_whom_is_as_in_compose(environment: Environment) -> None:
    assert_reach_is_that_of_compose(overlay(environment))


def test_the_command_line_reaches_all_as_in_compose(tmp_path: Path) -> None:
    objects = own_overlay(tmp_path, Environment.PROD, "tools")
    assert TOOL in labels_of(objects)
    assert_reach_is_that_of_compose(objects)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_passes_that_no_other_policy_allows(environment: Environment) -> None:
    policy = named(overlay(environment), "NetworkPolicy", "nothing-passes")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nobody_outside_reaches_a_pod(environment: Environment) -> None:
    objects = overlay(environment)
    for name, labels in labels_of(objects).items():
        rules = rules_of(objects, labels, "Ingress")
        assert rules is not None, name
        assert {key for peer in peers(rules, "from") for key in peer} <= {"podSelector"}, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_pod_that_no_policy_knows_reaches_nothing_but_names(environment: Environment) -> None:
    rules = rules_of(overlay(environment), {"app": "of-others"}, "Egress")
    assert rules is not None
    (rule,) = rules
    assert {port["port"] for port in rule["ports"]} == {53}
    assert rules_of(overlay(environment), {"app": "of-others"}, "Ingress") == []


def ways_out(objects: list[Object]) -> dict[str, set[int]]:
    """Workload -> the ports on which it may reach any address."""
    found = {}
    for name, labels in labels_of(objects).items():
        rules = rules_of(objects, labels, "Egress") or []
        wide = [rule for rule in rules if {"ipBlock": {"cidr": "0.0.0.0/0"}} in rule["to"]]
        assert all({"ipBlock": {"cidr": "::/0"}} in rule["to"] for rule in wide), name
        found[name] = {port["port"] for rule in wide for port in rule["ports"]}
    return {name: ports for name, ports in found.items() if ports}


def test_only_those_who_need_others_servers_reach_them() -> None:
    couchdb, postgres, packages = {443, 5984, 6984}, {5432}, {443}
    assert ways_out(overlay(Environment.LOCAL)) == {"dbt": packages}
    assert ways_out(overlay(Environment.GAMMA)) == {"dbt": packages, "logstash": couchdb, "load": couchdb}
    assert ways_out(overlay(Environment.PROD)) == {
        "dbt": packages | postgres,
        "logstash": couchdb,
        "load": couchdb | postgres,
        "init-db": postgres,
        "postgrest": postgres,
        "superset": postgres,
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_pod_can_ask_for_names(environment: Environment) -> None:
    objects = overlay(environment)
    for name, labels in labels_of(objects).items():
        rules = rules_of(objects, labels, "Egress") or []
        ports = [{(port["port"], port["protocol"]) for port in rule.get("ports", [])} for rule in rules]
        assert {(53, "UDP"), (53, "TCP")} in ports, name
