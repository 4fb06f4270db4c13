"""The manifests of each environment: complete, valid, as strict as docker-compose.yml, and of one piece."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import (
    ENVIRONMENTS,
    FOLDER,
    Object,
    container_of,
    containers,
    name_of,
    named,
    of_kind,
    overlay,
    pod_of,
    selects,
    service_of,
    workloads,
)

from cht_sync.environments import BESIDE, SERVICES, Environment
from cht_sync.runtime.containers.handed_out import PORTS
from cht_sync.runtime.kubernetes import ONCE
from cht_sync.settings import CHECKOUT, declared

VERSIONS = ("1.27", "1.32", "1.37")
"""The oldest whose kubectl renders the overlays, Debian 13's, and the newest of which there are schemas."""
UNITS = {"m": 1024**2, "g": 1024**3, "Mi": 1024**2, "Gi": 1024**3, "MB": 1000**2}
MEMORY_OF_ONCE = "TOOLS_MEMORY"
COMPOSE: Any = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
DOCKERFILES = {"logstash": "logstash", "dbt": "dbt", "superset": "superset"}
"""Whose health check is that of the image."""


def by_service(environment: Environment) -> dict[str, Object]:
    return {name_of(one): one for one in workloads(overlay(environment))}


def octets(text: str) -> int:
    number, unit = re.fullmatch(r"([0-9]+) ?([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_overlay_has_exactly_the_services_of_the_table(environment: Environment) -> None:
    once = {name for name in ONCE[environment] if name != "render-config"}  # runs in the pod of logstash
    assert set(by_service(environment)) == {*SERVICES[environment], *BESIDE[environment]} | once
    jobs = {name_of(one) for one in of_kind(overlay(environment), "Job")}
    assert jobs == once
    first = pod_of(by_service(environment)["logstash"])["spec"]["initContainers"]
    assert [one["name"] for one in first] == ["render-config"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_object_is_valid(environment: Environment, version: str) -> None:
    namespace = yaml.safe_load((FOLDER / "namespace.yaml").read_text())
    for one in [namespace, *overlay(environment)]:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_everything_is_in_one_namespace_and_says_whose_it_is(environment: Environment) -> None:
    namespace = name_of(yaml.safe_load((FOLDER / "namespace.yaml").read_text()))
    for one in overlay(environment):
        assert one["metadata"]["namespace"] == namespace, name_of(one)
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "cht-sync", name_of(one)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_pod_may_more_than_it_needs(environment: Environment) -> None:
    for name, one in by_service(environment).items():
        pod = pod_of(one)["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for forbidden in ("hostNetwork", "hostPID", "hostIPC", "serviceAccountName"):
            assert forbidden not in pod, name
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume], name
        for container in containers(one):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                # As in docker-compose.yml.
                "readOnlyRootFilesystem": name != "couchdb",
            }, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_variable_of_a_service_link_stands_in_for_a_setting(environment: Environment) -> None:
    """For a Service `postgres`, Kubernetes would set POSTGRES_PORT=tcp://... in every pod."""
    for name, one in by_service(environment).items():
        assert pod_of(one)["spec"]["enableServiceLinks"] is False, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_written_goes_to_memory_or_a_volume(environment: Environment) -> None:
    for name, one in by_service(environment).items():
        for volume in pod_of(one)["spec"]["volumes"]:
            if "emptyDir" in volume:
                assert volume["emptyDir"]["medium"] == "Memory", name
                assert volume["emptyDir"]["sizeLimit"], name
        (container,) = pod_of(one)["spec"]["containers"]
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name


def test_data_is_in_a_volume_where_compose_has_one() -> None:
    for name, one in by_service(Environment.LOCAL).items():
        own = [text for text in COMPOSE[name]["volumes"] if not text.startswith((".", "for-", "pipeline:"))]
        data = {text.split(":")[1] for text in own}
        claims = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        mounts = containers(one)[-1]["volumeMounts"]
        assert {mount["mountPath"] for mount in mounts if mount["name"] in claims} == data, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_images_are_those_of_compose(environment: Environment) -> None:
    defaults = {name: variable.default for name, variable in declared()}
    images = {
        name: defaults[f"{name.upper()}_IMAGE"] for name in ("postgres", "postgrest", "couchdb", "superset")
    }
    images["logstash"] = f"cht-sync-logstash:{defaults['PIPELINE_ENGINE']}"
    for one in workloads(overlay(environment)):
        for container in containers(one):
            wanted = images.get(container["name"], defaults["CHT_SYNC_IMAGE"])
            assert container["image"] == wanted, container["name"]


def test_commands_are_those_of_compose() -> None:
    for name, one in by_service(Environment.LOCAL).items():
        container = containers(one)[-1]
        given = container.get("args") or container.get("command")
        # CouchDB's entry point is told its settings by the environment, and needs no other command.
        assert given == (None if name == "couchdb" else COMPOSE[name].get("command")), name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_memory_is_limited_as_in_compose_and_processors_are_not(environment: Environment) -> None:
    defaults = {name: variable.default for name, variable in declared()}
    for one in workloads(overlay(environment)):
        for container in containers(one):
            limits = container["resources"]["limits"]
            of_service = defaults.get(f"{container['name'].upper().replace('-', '_')}_MEMORY")
            wanted = of_service or defaults[MEMORY_OF_ONCE]
            assert octets(limits["memory"]) == octets(wanted), container["name"]
            assert set(limits) == {"memory"}, container["name"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_requested_covers_what_was_measured(environment: Environment) -> None:
    table = (CHECKOUT / "docs" / "operating.md").read_text().partition("\n## Sizing\n")[2]
    rows = {
        row.split()[0]: max(octets(figure) for figure in re.findall(r"[0-9]+ MB", row))
        for row in re.findall(r"^\| ([a-z].*MB.*) \|$", table.partition("\n## ")[0], re.MULTILINE)
    }
    assert set(rows) == set(SERVICES[Environment.LOCAL])
    for name in SERVICES[environment]:
        resources = container_of(overlay(environment), name)["resources"]
        requested = octets(resources["requests"]["memory"])
        assert rows[name] < requested < octets(resources["limits"]["memory"]), name
        assert resources["requests"]["cpu"], name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_service_has_probes_and_what_runs_once_has_none(environment: Environment) -> None:
    for one in workloads(overlay(environment)):
        for container in containers(one):
            probes = {name for name in container if name.endswith("Probe")}
            is_service = container["name"] in (*SERVICES[environment], *BESIDE[environment])
            wanted = {"startupProbe", "livenessProbe", "readinessProbe"} if is_service else set()
            assert probes == wanted, container["name"]


def test_a_service_is_ready_when_its_health_check_in_compose_says_so() -> None:
    for name in SERVICES[Environment.LOCAL]:
        probe = container_of(overlay(Environment.LOCAL), name)["readinessProbe"]
        check = COMPOSE[name].get("healthcheck", {}).get("test")
        if name in DOCKERFILES:
            text = (CHECKOUT / DOCKERFILES[name] / "Dockerfile").read_text()
            (path, *_others) = re.findall(r"HEALTHCHECK .*\n.*127\.0\.0\.1:[^/]*(/[^']*)'", text)
            assert probe["httpGet"]["path"] == path, name
        elif name == "couchdb":
            assert f"GET {probe['httpGet']['path']} HTTP/1.0" in check[-1]
        elif check[0] == "CMD-SHELL":
            assert probe["exec"]["command"] == ["sh", "-c", check[1].replace("$$", "$")], name
        else:
            assert ["CMD", *probe["exec"]["command"]] == check, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_services_listen_where_their_settings_say(environment: Environment) -> None:
    objects = overlay(environment)
    services = (*SERVICES[environment], *BESIDE[environment])
    for name in services:
        ports = container_of(objects, name).get("ports", [])
        assert [port["containerPort"] for port in ports] == ([PORTS[name]] if name in PORTS else []), name
        if name in PORTS:
            service = named(objects, "Service", name)
            assert [port["port"] for port in service["spec"]["ports"]] == [PORTS[name]]
    assert {name_of(one) for one in of_kind(objects, "Service")} == set(PORTS) & set(services)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_one_object_says_of_another_is_there(environment: Environment) -> None:
    assert_of_one_piece(overlay(environment))


def assert_of_one_piece(objects: list[Object]) -> None:
    """Selectors take pods, ports have names that pods know, and what is mounted is a volume."""
    pods = [pod_of(one) for one in workloads(objects)]
    for one in objects:
        selector = one["spec"].get("selector")
        if one["kind"] == "Service":
            selector = {"matchLabels": selector}
        elif one["kind"] == "NetworkPolicy":
            selector = one["spec"]["podSelector"]
        if selector is None or one["kind"] == "ServiceMonitor":
            continue
        found = [pod for pod in pods if selects(pod["metadata"]["labels"], selector)]
        assert found, name_of(one)
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert found == [pod_of(one)], name_of(one)
        known = {
            port["name"]
            for pod in found
            for each in pod["spec"]["containers"]
            for port in each.get("ports", [])
        }
        if one["kind"] == "Service":
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= known, name_of(one)
        if one["kind"] == "NetworkPolicy":
            rules = [*one["spec"].get("ingress", []), *one["spec"].get("egress", [])]
            ports = {port["port"] for rule in rules for port in rule.get("ports", [])}
            assert {port for port in ports if isinstance(port, str)} <= known, name_of(one)
    for one in of_kind(objects, "StatefulSet"):
        named(objects, "Service", one["spec"]["serviceName"])
    for one in workloads(objects):
        claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
        volumes = [*(volume["name"] for volume in pod_of(one)["spec"]["volumes"]), *claims]
        mounts = {mount["name"] for each in containers(one) for mount in each.get("volumeMounts", [])}
        assert mounts == set(volumes), name_of(one)
        for container in containers(one):
            own = {port["name"] for port in container.get("ports", [])}
            for probe in (value for key, value in container.items() if key.endswith("Probe")):
                asked = probe.get("httpGet") or probe.get("tcpSocket") or {"port": None}
                assert asked["port"] in {None, *own}, name_of(one)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_never_are_two_at_work_where_one_is_meant(environment: Environment) -> None:
    for one in of_kind(overlay(environment), "Deployment", "StatefulSet"):
        if name_of(one) not in ("postgrest", "load"):
            assert one["spec"]["replicas"] == 1
            is_set = one["kind"] == "StatefulSet"  # which ends the old one first
            assert is_set or one["spec"]["strategy"] == {"type": "Recreate"}, name_of(one)


@pytest.mark.parametrize("environment", [Environment.GAMMA, Environment.PROD])
def test_what_loads_is_that_of_compose_but_stays_and_tells_how_far_it_is(environment: Environment) -> None:
    container = container_of(overlay(environment), "load")
    assert container["args"] == [*COMPOSE["load"]["command"], "--serve", "--metrics-host", "0.0.0.0"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {text.split(":")[1] for text in COMPOSE["load"]["volumes"]} <= mounts


def test_a_service_has_the_time_to_end_that_it_has_in_compose() -> None:
    for name, one in by_service(Environment.LOCAL).items():
        if grace := COMPOSE[name].get("stop_grace_period"):
            seconds = int(grace[:-1]) * {"s": 1, "m": 60}[grace[-1]]
            assert pod_of(one)["spec"]["terminationGracePeriodSeconds"] == seconds, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_pod_that_is_not_ready_is_replaced_by_one_with_other_settings(environment: Environment) -> None:
    """One after another (OrderedReady), a StatefulSet waits for the broken pod before it replaces it."""
    for one in of_kind(overlay(environment), "StatefulSet"):
        assert one["spec"]["podManagementPolicy"] == "Parallel", name_of(one)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_log_of_a_job_that_failed_stays(environment: Environment) -> None:
    for one in of_kind(overlay(environment), "Job"):
        assert pod_of(one)["spec"]["restartPolicy"] == "Never", name_of(one)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_budget_blocks_the_draining_of_a_node(environment: Environment) -> None:
    for one in of_kind(overlay(environment), "PodDisruptionBudget"):
        assert one["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in one["spec"]


def test_in_prod_one_postgrest_goes_on_while_the_other_moves() -> None:
    assert named(overlay(Environment.PROD), "Deployment", "postgrest")["spec"]["replicas"] == 2


def test_every_workload_is_labelled_as_its_service() -> None:
    for one in workloads(overlay(Environment.LOCAL)):
        assert service_of(one) == name_of(one) == pod_of(one)["metadata"]["labels"]["app.kubernetes.io/name"]


def test_deleting_an_overlay_deletes_no_volume() -> None:
    """What a StatefulSet has claimed stays; a Namespace or a claim here would take data along."""
    for environment in Environment:
        objects = overlay(environment)
        assert not list(of_kind(objects, "Namespace", "PersistentVolumeClaim"))
        for one in of_kind(objects, "StatefulSet"):
            assert "persistentVolumeClaimRetentionPolicy" not in one["spec"]


def test_no_file_of_the_manifests_lies_outside_what_kustomize_reads() -> None:
    """`kubectl apply -k` refuses files above a kustomization; folders it takes."""
    for file in FOLDER.rglob("kustomization.yaml"):
        for name in yaml.safe_load(file.read_text()).get("resources", []):
            place: Path = file.parent / name
            assert place.is_dir() or place.resolve().parent == file.parent.resolve(), place
