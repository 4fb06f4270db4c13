"""Each pod gets what `hand-out-settings` gives the same service, and nobody else mounts it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from manifests import (
    ENVIRONMENTS,
    FOLDER,
    Object,
    containers,
    of_kind,
    overlay,
    own_overlay,
    pod_of,
    sources,
    workloads,
)
from outside_settings import OUTSIDE

from cht_sync.cli import main
from cht_sync.environments import BESIDE, SERVICES, Environment
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime.containers import handed_out, inside
from cht_sync.runtime.kubernetes import ONCE, TOOL, is_plain
from cht_sync.settings import CHECKOUT, STATE_FOLDER, declared

WITH_SETTINGS = CHECKOUT / "cht_sync" / "runtime" / "containers" / "with-settings"
SECRETS = {
    name: f"kept-Apart-From-All-The-Others-{number:03}"
    for number, (name, variable) in enumerate(declared())
    if variable.secret
}
GIVEN = {**OUTSIDE, **SECRETS}


def command(home: Path, environment: Environment, given: Mapping[str, str] = GIVEN) -> tuple[int, str, str]:
    """Exit code, output and errors of `kubernetes-settings`."""
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    names = {name: None for name, _variable in declared()}
    environ = {**names, "CHT_SYNC_HOME": str(home), ENVIRONMENT: None}
    done = CliRunner().invoke(main, ["kubernetes-settings", "--env", environment.value], env=environ)
    return done.exit_code, done.stdout, done.stderr


def objects(home: Path, environment: Environment, given: Mapping[str, str] = GIVEN) -> list[Object]:
    code, output, errors = command(home, environment, given)
    assert code == 0, errors
    return list(yaml.safe_load_all(output))


def values(found: list[Object], kind: str, name: str) -> dict[str, str]:
    """What a ConfigMap or a Secret (as manifests call them) holds."""
    wanted = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
    (one,) = (one for one in of_kind(found, wanted) if one["metadata"]["name"] == name)
    if kind == "configMap":
        return dict(one["data"])
    return {key: base64.b64decode(value).decode() for key, value in one["data"].items()}


def seen(container: Object, pod: Object, found: list[Object]) -> dict[str, str]:
    return {
        key: value
        for kind, name in sources(container, pod)
        for key, value in values(found, kind, name).items()
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_pod_gets_exactly_what_is_handed_to_the_service(environment: Environment, tmp_path: Path) -> None:
    found = objects(tmp_path, environment)
    settings = inside.settings_of_project(
        environment, tmp_path, (), secrets=tmp_path / STATE_FOLDER / "kubernetes" / environment.value
    )
    handed = handed_out.handed_out(settings)
    checked = set()
    for workload in workloads(overlay(environment)):
        pod = pod_of(workload)
        for container in containers(workload):
            name = container["name"]
            if name.startswith("wait-for-"):
                assert {kind for kind, _name in sources(container, pod)} <= {"configMap"}
                continue
            assert seen(container, pod, found) == handed[name], name
            checked.add(name)
    assert checked == {*SERVICES[environment], *ONCE[environment], *BESIDE[environment]}


def test_the_command_line_inside_gets_what_it_gets_in_compose(tmp_path: Path) -> None:
    found = objects(tmp_path, Environment.PROD)
    own = tmp_path / "own"
    own.mkdir()
    (tool,) = (
        one
        for one in workloads(own_overlay(own, Environment.PROD, "tools"))
        if one["metadata"]["name"] == "tools"
    )
    handed = handed_out.handed_out(inside.settings_of_project(Environment.PROD, tmp_path, ()))
    assert seen(containers(tool)[0], pod_of(tool), found) == handed[TOOL]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nobody_mounts_the_settings_of_another(environment: Environment) -> None:
    for workload in workloads(overlay(environment)):
        for container in containers(workload):
            service = container["name"]
            if service.startswith("wait-for-"):
                service = workload["metadata"]["name"]
            assert {name for _kind, name in sources(container, pod_of(workload))} <= {f"settings-{service}"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_secret_is_in_a_config_map(environment: Environment, tmp_path: Path) -> None:
    found = objects(tmp_path, environment)
    plain = json.dumps(list(of_kind(found, "ConfigMap")))
    assert not [name for name, value in SECRETS.items() if value in plain]
    secrets = [values(found, "secret", one["metadata"]["name"]) for one in of_kind(found, "Secret")]
    everything = json.dumps(secrets)
    assert {name for name, value in SECRETS.items() if value not in everything} == set()
    assert not [key for one in secrets for key in one if is_plain(key)]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_repository_holds_no_secret_and_makes_none(environment: Environment) -> None:
    assert not list(of_kind(overlay(environment), "Secret", "ConfigMap"))
    for file in FOLDER.rglob("*.yaml"):
        text = file.read_text()
        assert "kind: Secret" not in text, file
        assert "secretGenerator" not in text, file
    for workload in workloads(overlay(environment)):
        for container in containers(workload):
            for variable in container.get("env", []):
                # Places of files and flags, no values of settings.
                assert variable["name"].endswith("_FILE") or variable["name"] in (
                    "POSTGRES_INITDB_ARGS",
                    "PGDATA",
                )


def test_variables_with_a_derived_secret_are_secret() -> None:
    for name in ("PGRST_DB_URI", "SUPERSET_METADATA_URI", "SUPERSET_METADATA_PASSWORD", "POSTGREST_TOKEN"):
        assert not is_plain(name)


def test_elastic_s_logstash_gets_a_token_as_a_secret(tmp_path: Path) -> None:
    found = objects(tmp_path, Environment.PROD, {**GIVEN, "PIPELINE_ENGINE": "logstash"})
    assert values(found, "secret", "settings-logstash")["POSTGREST_TOKEN"]
    assert "PGRST_JWT_SECRET" not in values(found, "secret", "settings-logstash")


def test_local_makes_its_secrets_once_and_keeps_them_to_itself(tmp_path: Path) -> None:
    first = objects(tmp_path, Environment.LOCAL, {})
    assert objects(tmp_path, Environment.LOCAL, {}) == first
    kept = tmp_path / ".cht-sync" / "kubernetes" / "local" / "secrets.json"
    assert kept.stat().st_mode & 0o077 == 0
    password = values(first, "secret", "settings-postgres")["POSTGRES_PASSWORD"]
    assert json.loads(kept.read_text())["POSTGRES_PASSWORD"] == password


@pytest.mark.parametrize("environment", [Environment.GAMMA, Environment.PROD])
def test_outside_local_nothing_is_made_up(environment: Environment, tmp_path: Path) -> None:
    given = {name: value for name, value in GIVEN.items() if name not in SECRETS}
    code, output, errors = command(tmp_path, environment, given)
    assert code == 2
    assert output == ""
    assert "POSTGRES_PASSWORD is required" in errors


def test_an_address_of_this_machine_is_refused_with_an_example_for_clusters(tmp_path: Path) -> None:
    code, output, errors = command(tmp_path, Environment.PROD, {**GIVEN, "POSTGRES_HOST": "localhost"})
    assert (code, output) == (2, "")
    assert "POSTGRES_HOST=10.0.0.1" in errors
    assert "host.docker.internal" not in errors


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in GIVEN.items()))
    environ = {"CHT_SYNC_HOME": str(tmp_path), "COUCHDB_USER": "another", ENVIRONMENT: None}
    done = CliRunner().invoke(main, ["kubernetes-settings", "--env", "prod"], env=environ)
    found = list(yaml.safe_load_all(done.stdout))
    assert values(found, "configMap", "settings-logstash")["COUCHDB_USER"] == "another"


def test_a_terminal_is_shown_no_secret(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in GIVEN.items()))
    ours, theirs = os.openpty()
    words = [CHECKOUT / ".venv" / "bin" / "cht-sync", "kubernetes-settings", "--env", "prod"]
    environ = {"PATH": os.environ["PATH"], "CHT_SYNC_HOME": str(tmp_path)}
    try:
        done = subprocess.run(
            words, env=environ, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(theirs)
    try:
        shown = os.read(ours, 1 << 16)
    except OSError:  # nothing was written
        shown = b""
    finally:
        os.close(ours)
    assert (done.returncode, shown) == (2, b"")
    assert "kubectl apply --server-side" in done.stderr


def projected(folder: Path, variables: Mapping[str, str]) -> Path:
    """A folder as the kubelet makes it: links to files below a folder that begins with a dot."""
    place = folder / "mounted"
    (place / "..2026").mkdir(parents=True)
    (place / "..data").symlink_to("..2026")
    for name, value in variables.items():
        (place / "..2026" / name).write_text(value)
        (place / name).symlink_to(f"..data/{name}")
    return place


def inside_of(container: Object, mounted: Path, output: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a container's command line of ours on this machine."""
    words = [*container.get("command", [WITH_SETTINGS, "cht-sync"]), *container["args"]]
    here = {
        "/etc/cht-sync/pipeline": output,
        f"/srv/cht-sync/{WITH_SETTINGS.relative_to(CHECKOUT)}": WITH_SETTINGS,
    }
    environ = {
        "PATH": f"{CHECKOUT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "CHT_SYNC_HANDED_OUT": str(mounted),
        "CHT_SYNC_HOME": str(home),
    }
    return subprocess.run(
        [here.get(word, word) for word in words],
        env=environ,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def render_config_of(objects_of: list[Object], name: str) -> Object:
    (workload,) = (one for one in workloads(objects_of) if one["metadata"]["name"] == name)
    first: Object = pod_of(workload)["spec"]["initContainers"][0]
    return first


def test_the_pod_of_the_pipelines_renders_what_compose_renders(tmp_path: Path) -> None:
    found = objects(tmp_path, Environment.PROD)
    mounted = projected(tmp_path, values(found, "configMap", "settings-render-config"))
    container = render_config_of(overlay(Environment.PROD), "logstash")
    done = inside_of(container, mounted, tmp_path / "pipeline", tmp_path)
    assert done.returncode == 0, done.stderr
    rendered = sorted(file.name for file in (tmp_path / "pipeline" / "pipeline").iterdir())
    assert rendered == ["medic-sentinel.conf", "medic.conf"]
    assert not [
        value
        for value in SECRETS.values()
        if value in "".join(file.read_text() for file in (tmp_path / "pipeline").rglob("*") if file.is_file())
    ]


def test_with_a_pod_for_each_database_each_renders_its_own(tmp_path: Path) -> None:
    found = objects(tmp_path, Environment.PROD)
    mounted = projected(tmp_path, values(found, "configMap", "settings-render-config"))
    own = tmp_path / "own"
    own.mkdir()
    together = own_overlay(own, Environment.PROD, "pipeline-per-database")
    for database in ("medic", "medic-sentinel", "medic-users-meta"):
        output = tmp_path / database
        done = inside_of(render_config_of(together, f"logstash-{database}"), mounted, output, tmp_path)
        assert done.returncode == 0, done.stderr
        assert [file.name for file in (output / "pipeline").iterdir()] == [f"{database}.conf"]
