"""What an operator may put on top: monitoring, the command line, a way in, a pod for each database."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import (
    ENVIRONMENTS,
    FOLDER,
    Object,
    containers,
    name_of,
    named,
    of_kind,
    own_overlay,
    pod_of,
    rendered,
    selects,
    workloads,
)
from monitoring_table import documented
from observability.queries import asked
from test_kubernetes_overlays import assert_of_one_piece

from cht_sync.environments import Environment
from cht_sync.settings import CHECKOUT, declared

OF_OPERATORS = ("ServiceMonitor", "PrometheusRule")
"""Kinds of the Prometheus Operator, of which there are no schemas here."""
ALL = ("tools", "monitoring", "ingress", "pipeline-per-database", "load", "elastic-logstash")
ADAPTER = FOLDER / "components" / "load" / "prometheus-adapter-values.yaml"
MONITORING = CHECKOUT / "deploy" / "monitoring"
RULE = FOLDER / "components" / "monitoring" / "prometheus-rule.yaml"
MADE = (
    "# Made of deploy/monitoring/prometheus-alerts.yml, not to be edited:\n"
    "# UPDATE_GOLDEN=1 pytest tests/kubernetes/test_kubernetes_components.py\n"
    "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: cht-sync\nspec:\n"
)


@pytest.mark.parametrize("component", ALL)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_component_fits_each_environment(
    environment: Environment, component: str, tmp_path: Path
) -> None:
    if component == "load" and environment is Environment.LOCAL:
        pytest.skip("nothing large is loaded in local")
    assert_fits(own_overlay(tmp_path, environment, component))


def test_all_components_fit_together(tmp_path: Path) -> None:
    assert_fits(own_overlay(tmp_path, Environment.PROD, *ALL))


def assert_fits(objects: list[Object]) -> None:
    for one in objects:
        if one["kind"] not in OF_OPERATORS:
            kubernetes_validate.validate(one, "1.37", strict=True)
        assert one["metadata"]["namespace"] == "cht-sync", name_of(one)
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "cht-sync", name_of(one)
    for workload in workloads(objects):
        assert pod_of(workload)["spec"]["automountServiceAccountToken"] is False, name_of(workload)
        for container in containers(workload):
            assert re.fullmatch(r".+:.+", container["image"]), name_of(workload)
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]["memory"]
            assert container["resources"]["limits"]["memory"]
    assert_of_one_piece(objects)


def test_there_is_no_component_that_no_test_knows() -> None:
    assert {file.parent.name for file in FOLDER.glob("components/*/kustomization.yaml")} == {*ALL, "common"}


def test_the_rules_are_those_of_prometheus(tmp_path: Path) -> None:
    text = (MONITORING / "prometheus-alerts.yml").read_text()
    groups = text[text.index("groups:") :]
    wanted = MADE + re.sub(r"^(?=.)", "  ", groups, flags=re.MULTILINE)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        RULE.write_text(wanted)
    assert RULE.read_text() == wanted
    rule = named(own_overlay(tmp_path, Environment.PROD, "monitoring"), "PrometheusRule", "cht-sync")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == yaml.safe_load(text)


def test_what_is_scraped_has_the_jobs_of_the_example(tmp_path: Path) -> None:
    objects = own_overlay(tmp_path, Environment.PROD, "monitoring")
    example = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    jobs = []
    for monitor in of_kind(objects, "ServiceMonitor"):
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert set(monitor["spec"]) == {"selector", "endpoints"}
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["path"] == "/metrics"
        (job,) = endpoint["relabelings"]
        assert (job["action"], job["targetLabel"]) == ("replace", "job")
        jobs.append(job["replacement"])
    # What loads is no service of local processes, which the example is for.
    assert sorted(jobs) == sorted([*(one["job_name"] for one in example["scrape_configs"]), "cht-sync-load"])


@pytest.mark.parametrize(
    "components", [("monitoring",), ("pipeline-per-database", "monitoring")], ids=" ".join
)
def test_each_pod_with_metrics_is_scraped_once_and_prometheus_is_let_in(
    components: tuple[str, ...], tmp_path: Path
) -> None:
    objects = own_overlay(tmp_path, Environment.PROD, *components)
    policy = named(objects, "NetworkPolicy", "prometheus")["spec"]
    for workload in workloads(objects):
        labels = pod_of(workload)["metadata"]["labels"]
        found = [
            (monitor, service, port)
            for monitor in of_kind(objects, "ServiceMonitor")
            for service in of_kind(objects, "Service")
            for port in service["spec"]["ports"]
            if selects(service["metadata"]["labels"], monitor["spec"]["selector"])
            and service["spec"]["selector"].items() <= labels.items()
            and port["name"] == monitor["spec"]["endpoints"][0]["port"]
        ]
        has_metrics = labels["app.kubernetes.io/name"] in ("logstash", "dbt", "load")
        assert len(found) == has_metrics, name_of(workload)
        assert selects(labels, policy["podSelector"]) is has_metrics
        if found:
            (_monitor, service, port) = found[0]
            # What is not well is scraped most of all.
            assert service["spec"]["publishNotReadyAddresses"] is True
            ports = [one["port"] for rule in policy["ingress"] for one in rule["ports"]]
            assert port["targetPort"] in ports


def test_people_come_to_superset_and_to_nothing_else(tmp_path: Path) -> None:
    objects = own_overlay(tmp_path, Environment.PROD, "ingress")
    (ingress,) = of_kind(objects, "Ingress")
    ((path,),) = (rule["http"]["paths"] for rule in ingress["spec"]["rules"])
    service = named(objects, "Service", path["backend"]["service"]["name"])
    assert path["backend"]["service"]["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]
    policy = named(objects, "NetworkPolicy", "superset-from-ingress")["spec"]
    taken = [
        name_of(one)
        for one in workloads(objects)
        if selects(pod_of(one)["metadata"]["labels"], policy["podSelector"])
    ]
    assert taken == ["superset"]


def logstashes(objects: list[Object]) -> dict[str, Object]:
    return {
        name_of(one): one for one in of_kind(objects, "StatefulSet") if name_of(one).startswith("logstash")
    }


def test_a_pod_for_each_database_takes_the_place_of_the_one_for_all(tmp_path: Path) -> None:
    found = logstashes(own_overlay(tmp_path, Environment.PROD, "pipeline-per-database"))
    databases = ("medic", "medic-sentinel", "medic-users-meta")
    assert set(found) == {f"logstash-{database}" for database in databases}
    for database in databases:
        workload = found[f"logstash-{database}"]
        assert workload["spec"]["replicas"] == 1
        assert workload["spec"]["serviceName"] == "logstash"
        (first,) = pod_of(workload)["spec"]["initContainers"]
        assert f"COUCHDB_DBS={database}" in first["command"]


@pytest.mark.parametrize(
    "components", [("elastic-logstash",), ("pipeline-per-database", "elastic-logstash")], ids=" ".join
)
def test_elastic_s_logstash_is_its_image_and_its_user(components: tuple[str, ...], tmp_path: Path) -> None:
    for workload in logstashes(own_overlay(tmp_path, Environment.PROD, *components)).values():
        pod: Any = pod_of(workload)["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "cht-sync-logstash:logstash"
        assert container["securityContext"]["runAsUser"] == 1000
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["fsGroup"] == 1000
        assert pod["initContainers"][0]["image"].startswith("cht-sync:")


def test_pods_that_load_come_and_go_with_the_documents_that_are_left(tmp_path: Path) -> None:
    objects = own_overlay(tmp_path, Environment.PROD, "monitoring", "load")
    workload = named(objects, "Deployment", "load")
    scaler = named(objects, "HorizontalPodAutoscaler", "load")["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "name": name_of(workload),
    }
    assert "replicas" not in workload["spec"]
    assert containers(workload)[0]["args"][3:5] == ["--workers", "1"]
    assert 1 == scaler["minReplicas"] < scaler["maxReplicas"]
    (metric,) = (one["external"]["metric"]["name"] for one in scaler["metrics"])
    assert metric in documented("load")
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["external"]
    assert f'__name__="{metric}"' in rule["seriesQuery"]
    # As the adapter fills it in, it is PromQL that asks for what there is.
    query = rule["metricsQuery"].replace("<<.Series>>", metric)
    query = query.replace("<<.LabelMatchers>>", 'namespace="cht-sync"')
    assert [one.metric for one in asked(query)] == [metric]


def blocks_of_the_docs() -> list[str]:
    text = (CHECKOUT / "docs" / "kubernetes.md").read_text()
    return [textwrap.dedent(block) for block in re.findall(r"^ *```yaml\n(.*?)^ *```", text, re.M | re.S)]


def test_the_overlay_that_the_docs_show_is_one(tmp_path: Path) -> None:
    (overlay, _volume, _address) = blocks_of_the_docs()
    there = os.path.relpath(FOLDER.resolve(), tmp_path.resolve())
    text = overlay.replace("../../", f"{there}/").replace("- ../prod", f"- {there}/overlays/prod")
    (tmp_path / "kustomization.yaml").write_text(text)
    objects = rendered(tmp_path)
    assert_fits(objects)
    images = {container["image"] for one in workloads(objects) for container in containers(one)}
    own = {image for image in images if image.startswith("registry.example.org/")}
    assert images - own == {"postgrest/postgrest:v14.17"}
    (ours,) = (variable.default for name, variable in declared() if name == "CHT_SYNC_IMAGE")
    assert {image.rpartition(":")[2] for image in own} == {ours.rpartition(":")[2]}


def test_the_patches_that_the_docs_show_do_what_they_say(tmp_path: Path) -> None:
    (_overlay, volume, address) = blocks_of_the_docs()
    (tmp_path / "volume").mkdir()
    objects = own_overlay(tmp_path / "volume", Environment.GAMMA, more=volume)
    (claim,) = named(objects, "StatefulSet", "postgres")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "200Gi"
    (tmp_path / "address").mkdir()
    objects = own_overlay(tmp_path / "address", Environment.PROD, more=address)
    assert_fits(objects)
    (rule,) = named(objects, "NetworkPolicy", "couchdb-outside")["spec"]["egress"]
    assert rule == {
        "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}],
        "ports": [{"port": 10443, "protocol": "TCP"}],
    }
