"""What `cht-sync swarm-stack` writes: needs the compose plugin, no engine and no swarm."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml
from click.testing import CliRunner
from compose_plugin import needs_compose
from outside_settings import OUTSIDE

from cht_sync.cli import main
from cht_sync.environments import SERVICES, Environment
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime.containers import handed_out, inside
from cht_sync.runtime.swarm.form import PIPELINES
from cht_sync.runtime.swarm.stack import FOREIGN
from cht_sync.settings import CHECKOUT, DOCKER, declared

WITH_SETTINGS = CHECKOUT / "cht_sync" / "runtime" / "containers" / "with-settings"
ENVIRONMENTS = (Environment.GAMMA, Environment.PROD)
SECRETS = {
    name: f"kept 'Apart' \"From\" $All `The` Others-{number:03}"
    for number, (name, variable) in enumerate(declared())
    if variable.secret
}
LONGEST_NAME = 64
NOT_HANDED = ("CHT_SYNC_HANDED_OUT", "PATH", "PWD")


def command(home: Path, environment: Environment, *words: str, **more: str) -> tuple[int, str]:
    """Exit code and all that `swarm-stack` says. Secrets are in no `.env`, whose quotes they would end."""
    given = {**OUTSIDE, **SECRETS, **more}
    names = {name: None for name, _variable in declared()}
    environ = {**names, "CHT_SYNC_HOME": str(home), ENVIRONMENT: None, **given}
    done = CliRunner().invoke(main, ["swarm-stack", "--env", environment.value, *words], env=environ)
    return done.exit_code, done.output


def folder(home: Path, environment: Environment) -> Path:
    return home / ".cht-sync" / "swarm" / environment.value


def stack(home: Path, environment: Environment, *words: str, **more: str) -> dict[str, Any]:
    needs_compose()
    code, said = command(home, environment, *words, **more)
    assert code == 0, said
    tree: dict[str, Any] = yaml.safe_load((folder(home, environment) / "stack.yml").read_text())
    return tree


def mounted(tree: Mapping[str, Any], service: str, kind: str) -> dict[str, str]:
    """The "secrets" or "configs" of a service: where it sees them, and what is in them."""
    return {
        one["target"]: Path(tree[kind][one["source"]]["file"]).read_text()
        for one in tree["services"][service].get(kind, ())
    }


def seen(files: Mapping[str, str], place: Path) -> dict[str, str]:
    """The variables that `with-settings` makes of these files."""
    place.mkdir()
    for target, text in files.items():
        (place / Path(target).name).write_text(text)
    done = subprocess.run(
        [WITH_SETTINGS, "/usr/bin/env", "--null"],
        env={"CHT_SYNC_HANDED_OUT": str(place), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in found.items() if name not in NOT_HANDED}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_service_sees_exactly_what_compose_hands_to_it(environment: Environment, tmp_path: Path) -> None:
    more = {"COUCHDB_CA_FILE": certifi.where()}
    tree = stack(tmp_path, environment, **more)
    settings = inside.settings_of_project(environment, tmp_path, (), environ={**OUTSIDE, **SECRETS, **more})
    handed = handed_out.handed_out(settings)
    assert {*tree["services"]} == {*SERVICES[environment], "init-db", "load", "cht-sync"}
    for name in tree["services"]:
        files = mounted(tree, name, "secrets")
        assert {str(Path(target).parent) for target in files} == {handed_out.PLACE}
        if name in FOREIGN:
            assert {Path(target).name: text for target, text in files.items()} == handed[name]
            continue
        variables = {key: value for key, value in handed[name].items() if not key.endswith(".pem")}
        assert seen(files, tmp_path / f"as-{name}") == variables, name
        certificates = {Path(target).name for target in files if target.endswith(".pem")}
        assert certificates == handed[name].keys() - variables.keys()


def test_the_pipelines_find_what_render_config_writes(tmp_path: Path) -> None:
    tree = stack(tmp_path, Environment.PROD)
    found = mounted(tree, "logstash", "configs")
    done = CliRunner().invoke(
        main,
        ["render-config", "--env", "prod", "--output", str(tmp_path / "rendered")],
        env={**OUTSIDE, **SECRETS, "HTTP_ENDPOINT": "postgrest:3000", "CHT_SYNC_HOME": str(tmp_path)},
    )
    assert done.exit_code == 0, done.output
    rendered = {
        f"{PIPELINES}/{file.relative_to(tmp_path / 'rendered')}": file.read_text()
        for file in (tmp_path / "rendered").rglob("*")
        if file.is_file()
    }
    assert found == rendered
    assert not [value for value in SECRETS.values() if value in str(found)]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_secret_is_in_the_stack_and_only_the_owner_reads_the_files(
    environment: Environment, tmp_path: Path
) -> None:
    stack(tmp_path, environment)
    place = folder(tmp_path, environment)
    for file in ("stack.yml", "compose.env"):
        assert not [value for value in SECRETS.values() if value in (place / file).read_text()]
    for one in (place, *place.rglob("*")):
        assert one.stat().st_mode & 0o077 == 0, one


def test_another_setting_replaces_the_services_that_read_it_and_no_other(tmp_path: Path) -> None:
    before = stack(tmp_path, Environment.PROD)
    after = stack(tmp_path, Environment.PROD, SUPERSET_PASSWORD="Another-1234-for-Superset")
    changed = {name for name, one in before["services"].items() if one != after["services"][name]}
    # The command line knows all of them.
    assert changed == {"superset", "cht-sync"}
    named = {Path(one["file"]).name for kind in ("secrets", "configs") for one in after[kind].values()}
    assert {file.name for file in (folder(tmp_path, Environment.PROD) / "files").iterdir()} == named


def test_names_do_not_tell_whether_a_password_was_guessed(tmp_path: Path) -> None:
    keys = [f"Another-{n}-secret-of-many-letters" for n in range(2)]
    first, second = ({*stack(tmp_path, Environment.GAMMA, PGRST_JWT_SECRET=key)["secrets"]} for key in keys)
    assert not first & second


def test_names_are_such_as_a_swarm_takes(tmp_path: Path) -> None:
    names = "medic a+b/c(d)-with-quite-a-long-name-for-a-database"
    tree = stack(tmp_path, Environment.PROD, COUCHDB_DBS=names)
    for kind in ("secrets", "configs"):
        for name in tree[kind]:
            assert len(f"cht-sync-prod_{name}") <= LONGEST_NAME
            assert name.translate(str.maketrans("", "", "-_.")).isalnum()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_limits_restarts_and_rights_are_those_of_compose(environment: Environment, tmp_path: Path) -> None:
    tree = stack(tmp_path, environment, LOGSTASH_CPUS="1.5", DBT_MEMORY="3g")
    for name, one in tree["services"].items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["read_only"] is True, name
        assert one["logging"]["options"]["max-size"], name
        assert one["deploy"]["endpoint_mode"] == "dnsrr", name
        assert one["deploy"]["resources"]["limits"]["pids"] == 512, name
        assert int(one["deploy"]["resources"]["limits"]["memory"]) > 0, name
        assert one["deploy"]["restart_policy"]["condition"] == ("on-failure" if name == "init-db" else "any")
    limits = tree["services"]["logstash"]["deploy"]["resources"]["limits"]
    assert (limits["cpus"], limits["memory"]) == ("1.5", str(1 << 30))
    assert tree["services"]["dbt"]["deploy"]["resources"]["limits"]["memory"] == str(3 << 30)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_node_needs_no_folder_of_the_checkout(environment: Environment, tmp_path: Path) -> None:
    tree = stack(tmp_path, environment)
    for name, one in tree["services"].items():
        assert "bind" not in {volume["type"] for volume in one.get("volumes", ())}, name
        assert not [volume for volume in one.get("volumes", ()) if volume["target"] == handed_out.PLACE]
    assert not [name for name in tree["volumes"] if name.startswith("for-")]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_in_memory_belongs_to_the_user_that_writes_there(
    environment: Environment, tmp_path: Path
) -> None:
    """A tmpfs of a service is root's in a swarm, but where everybody may write."""
    tree = stack(tmp_path, environment)
    for name, one in tree["services"].items():
        in_memory = {volume["target"] for volume in one["volumes"] if volume["type"] == "tmpfs"}
        assert in_memory <= {"/tmp", "/dev/shm"}, name
    owners = {name: one["driver_opts"]["o"] for name, one in tree["volumes"].items() if "driver_opts" in one}
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    for name, options in owners.items():
        assert options == compose[name.removesuffix("-run")]["tmpfs"][1].partition(":")[2], name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_passes_between_nodes_is_encrypted(environment: Environment, tmp_path: Path) -> None:
    for network in stack(tmp_path, environment)["networks"].values():
        assert network["driver"] == "overlay"
        assert "encrypted" in network["driver_opts"]


def test_nothing_is_published_at_all_addresses_unless_it_is_said(tmp_path: Path) -> None:
    tree = stack(tmp_path, Environment.GAMMA)
    assert not [name for name, one in tree["services"].items() if "ports" in one]
    assert "Not published: postgres, superset" in command(tmp_path, Environment.GAMMA)[1]
    tree = stack(tmp_path, Environment.PROD, PUBLISH_ADDRESS="0.0.0.0", SUPERSET_PORT="8090")
    (port,) = tree["services"]["superset"]["ports"]
    assert tree["services"]["superset"]["deploy"]["endpoint_mode"] == "vip"
    assert (port["published"], port["target"]) == (8090, 8088)


def test_the_database_stays_on_the_node_that_has_its_volume(tmp_path: Path) -> None:
    tree = stack(tmp_path, Environment.GAMMA)
    assert tree["services"]["postgres"]["deploy"]["placement"]["constraints"]


def test_a_file_of_the_operator_comes_on_top(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    deploy = {"replicas": 3, "placement": {"constraints": ["node.role == worker"]}}
    own.write_text(yaml.safe_dump({"services": {"load": {"deploy": deploy}}}))
    load = stack(tmp_path, Environment.PROD, "--file", str(own))["services"]["load"]
    assert load["deploy"]["replicas"] == 3
    assert load["deploy"]["placement"] == {"constraints": ["node.role == worker"]}
    assert load["command"] == ["load", "--if-large", "--serve"]


def test_a_service_of_the_operator_keeps_its_folders_and_gets_no_settings(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    prometheus = {
        "image": "prom/prometheus",
        "networks": ["source"],
        "volumes": [f"{tmp_path}:/etc/prometheus:ro"],
    }
    own.write_text(yaml.safe_dump({"services": {"prometheus": prometheus}}))
    found = stack(tmp_path, Environment.PROD, "--file", str(own))["services"]["prometheus"]
    (volume,) = found["volumes"]
    assert volume == {"type": "bind", "source": str(tmp_path), "target": "/etc/prometheus", "read_only": True}
    assert found["secrets"] == []


def test_secrets_and_configs_of_the_operator_stay_beside_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    files = {name: {"file": str(tmp_path / name)} for name in ("certificate", "rules")}
    mine = {"secrets": ["certificate"], "configs": [{"source": "rules", "target": "/etc/rules"}]}
    services = {"prometheus": {"image": "prom/prometheus", **mine}, "logstash": mine}
    kinds = {"secrets": {"certificate": files["certificate"]}, "configs": {"rules": files["rules"]}}
    own.write_text(yaml.safe_dump({"services": services, **kinds}))
    for file in files:
        (tmp_path / file).write_text(f"of {file}")
    ours = stack(tmp_path, Environment.PROD)["services"]["logstash"]
    tree = stack(tmp_path, Environment.PROD, "--file", str(own))
    for kind, (name,) in {"secrets": ["certificate"], "configs": ["rules"]}.items():
        assert tree[kind][name]["file"] == files[name]["file"]
        assert [one["source"] for one in tree["services"]["prometheus"][kind]] == [name]
        found = [one["source"] for one in tree["services"]["logstash"][kind]]
        assert sorted(found) == sorted([name, *(one["source"] for one in ours[kind])])


def test_a_folder_with_a_dollar_sign_is_no_variable_of_the_stack(tmp_path: Path) -> None:
    home = tmp_path / "of$me"
    home.mkdir()
    tree = stack(home, Environment.PROD)
    for one in (*tree["secrets"].values(), *tree["configs"].values()):
        assert Path(one["file"].replace("$$", "$")).is_file()
        assert "$" not in one["file"].replace("$$", "")


def test_local_and_addresses_that_a_swarm_does_not_know_are_refused(tmp_path: Path) -> None:
    code, said = command(tmp_path, Environment.LOCAL)
    assert code == 2
    assert "cht-sync up --env local" in said
    for address in ("localhost", "host.docker.internal"):
        code, said = command(tmp_path, Environment.PROD, POSTGRES_HOST=address)
        assert code == 2
        assert "POSTGRES_HOST=10.0.0.1" in said
    assert not folder(tmp_path, Environment.PROD).exists()


def test_images_that_env_names_are_those_of_the_stack(tmp_path: Path) -> None:
    images = {
        name: f"registry.example.org/{name.lower()}:1"
        for name, one in declared()
        if name.endswith("_IMAGE") and one.group == DOCKER
    }
    tree = stack(tmp_path, Environment.GAMMA, **images)
    assert {one["image"].partition("/")[0] for one in tree["services"].values()} == {"registry.example.org"}
