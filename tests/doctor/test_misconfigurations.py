"""Fifteen things that operators get wrong: each is found, named, and told how to be mended."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import jwt
import pytest
from free_ports import free_port
from loopback_server import serving
from transform.git_server import Repository
from transform.git_server import serving as serving_git
from warehouse.installation import Installation

from cht_sync.environments import Environment
from cht_sync.pipeline.couchdb import refusals
from cht_sync.runtime import couchdb_access, postgrest_access, protocols, runtimes
from cht_sync.runtime.containers import engine as engines
from cht_sync.runtime.doctor import disk
from cht_sync.warehouse import inspection
from doctor.before_couchdb import BeforeCouchdb
from doctor.patient import Patient

WRONG = "swordfish-of-nobody"


def installation(patient: Patient) -> Installation:
    return patient.world.installation


def progress(patient: Patient, changed: str) -> None:
    """Change the row of the saved position."""
    installation(patient).query(f"update v1.couchdb_progress set {changed}")


# 1 and 2, 3 and 4: how servers are reached.


def test_a_wrong_password_of_couchdb_costs_one_login(patient: Patient, couchdb_door: BeforeCouchdb) -> None:
    patient.changes["COUCHDB_PASSWORD"] = WRONG
    found = patient.examine()
    assert found.code == 1
    assert found.failed == {"couchdb-login"}
    message, remedy = found.the("couchdb-login")
    assert f"refuses the login of {patient.world.couch.user}" in message
    assert "COUCHDB_PASSWORD" in remedy
    assert couchdb_door.asked == [f"/{patient.world.database}"]
    # Nor does a second look, nor what `up` asks, try it again.
    message, _remedy = patient.examine().the("couchdb-login")
    assert "is not asked again for five minutes" in message
    assert len(couchdb_door.asked) == 1


def test_a_refused_login_does_not_decide_how_up_runs_the_environment(
    patient: Patient, couchdb_door: BeforeCouchdb, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.changes["COUCHDB_PASSWORD"] = WRONG
    patient.examine(runtime="auto")
    home = patient.world.home
    assert [one.name for one in (home / ".cht-sync" / "prod").iterdir()] == [refusals.FILE]
    for name, value in patient.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runtimes, "unavailable", lambda _settings, _services: None)
    taken, _why = runtimes.choose("auto", Environment.PROD, home=home, without=())
    assert taken == runtimes.DOCKER


def test_a_wrong_password_of_postgresql_is_found(patient: Patient) -> None:
    patient.changes["POSTGRES_PASSWORD"] = WRONG
    found = patient.examine()
    message, remedy = found.the("postgresql-login")
    assert "password authentication failed" in message
    assert "POSTGRES_PASSWORD" in remedy
    assert found.failed == {"postgresql-login"}


@pytest.mark.parametrize(
    ("variable", "role"),
    [
        ("DBT_POSTGRES_PASSWORD", "dbt"),
        ("PGRST_DB_PASSWORD", "authenticator"),
        ("SUPERSET_DB_PASSWORD", "superset"),
    ],
)
def test_a_wrong_password_of_a_role_is_found(patient: Patient, variable: str, role: str) -> None:
    patient.changes[variable] = WRONG
    message, remedy = (found := patient.examine()).the("role-logins")
    assert f"refuses {installation(patient).name}_{role}" in message
    assert variable in remedy
    assert "cht-sync init-db --env prod" in remedy
    assert found.failed == {"role-logins"}


def test_a_port_where_nobody_listens_is_found(patient: Patient) -> None:
    for variable in ("COUCHDB_PORT", "POSTGRES_PORT"):
        patient.changes[variable] = str(free_port())
    patient.changes["HTTP_ENDPOINT"] = f"127.0.0.1:{free_port()}"
    found = patient.examine()
    assert found.failed == {"couchdb-login", "postgresql-login", "postgrest"}
    for check, variable in (
        ("couchdb-login", "COUCHDB_PORT"),
        ("postgresql-login", "POSTGRES_PORT"),
        ("postgrest", "HTTP_ENDPOINT"),
    ):
        assert variable in found.the(check)[1]


def test_a_server_that_hangs_is_no_end_of_the_others(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couchdb_access, "REQUEST_TIMEOUT", 0.3)
    monkeypatch.setattr(protocols, "TIMEOUT", 0.1)
    with listener() as silent:
        patient.changes["COUCHDB_PORT"] = str(silent)
        found = patient.examine()
    assert "does not answer (ReadTimeout)" in found.the("couchdb-login")[0]
    assert found.failed == {"couchdb-login"}
    assert found.the("token", "ok")


def test_ports_where_something_else_answers_are_found(patient: Patient) -> None:
    settings = patient.environment()
    couchdb, postgres = settings["COUCHDB_PORT"], settings["POSTGRES_PORT"]
    patient.changes |= {
        "COUCHDB_PORT": postgres,
        "POSTGRES_PORT": couchdb,
        "HTTP_ENDPOINT": f"127.0.0.1:{postgres}",
    }
    found = patient.examine()
    assert "speaks PostgreSQL" in found.the("couchdb-login")[0]
    assert "speaks http" in found.the("postgresql-login")[0]
    assert "speaks PostgreSQL" in found.the("postgrest")[0]


@pytest.mark.parametrize("answer", [(200, "<html>sign in"), (200, "{}"), (404, "<html>"), (401, "{}")])
def test_something_else_that_speaks_http_is_not_taken_for_postgrest(
    patient: Patient, answer: tuple[int, str]
) -> None:
    other = BeforeCouchdb("nowhere")
    other.answers = lambda _path: answer
    with serving(other):
        patient.changes["HTTP_ENDPOINT"] = f"127.0.0.1:{other.port}"
        message, remedy = (found := patient.examine()).the("postgrest")
    assert f"is not PostgREST (HTTP {answer[0]})" in message
    assert "HTTP_ENDPOINT" in remedy
    assert found.failed == {"postgrest"}


def test_a_path_that_postgrest_does_not_have_is_told_as_one(patient: Patient) -> None:
    patient.changes["HTTP_ENDPOINT"] = f"{patient.environment()['HTTP_ENDPOINT']}/foo"
    _message, remedy = (found := patient.examine()).the("token")
    assert "Correct HTTP_ENDPOINT" in remedy
    assert found.failed == {"token"}


def test_a_path_where_no_couchdb_is_may_be_what_is_wrong(patient: Patient) -> None:
    patient.changes["COUCHDB_PATH"] = "/foo"
    assert "COUCHDB_PATH" in patient.examine().the("couchdb-databases")[1]


def test_a_wrong_server_of_the_models_is_told_before_a_password(patient: Patient) -> None:
    patient.changes["DBT_POSTGRES_HOST"] = "nowhere.invalid"
    remedy = (found := patient.examine()).the("role-logins")[1]
    assert remedy.startswith("Correct DBT_POSTGRES_HOST")
    assert found.failed == {"role-logins"}


def test_http_for_https_is_found(patient: Patient, tls: ssl.SSLContext) -> None:
    server = BeforeCouchdb("nowhere")
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        patient.changes["COUCHDB_PORT"] = str(server.port)
        message, remedy = (found := patient.examine()).the("couchdb-login")
    assert "speaks https, and it is asked by http" in message
    assert "COUCHDB_SECURE=true" in remedy
    assert found.failed == {"couchdb-login"}
    assert server.asked == []


def test_https_for_http_is_found(patient: Patient) -> None:
    patient.changes["COUCHDB_SECURE"] = "true"
    message, remedy = (found := patient.examine()).the("couchdb-login")
    assert "speaks http, and it is asked by https" in message
    assert "COUCHDB_SECURE=false" in remedy
    assert found.failed == {"couchdb-login"}


def test_a_certificate_that_nobody_knows_is_found(patient: Patient, tls: ssl.SSLContext) -> None:
    server = BeforeCouchdb("nowhere")
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        patient.changes |= {"COUCHDB_PORT": str(server.port), "COUCHDB_SECURE": "true"}
        message, remedy = patient.examine().the("couchdb-login")
    assert "certificate" in message
    assert "COUCHDB_CA_FILE" in remedy
    assert server.asked == []


def test_a_database_that_couchdb_does_not_have_is_found_with_what_may_be_meant(patient: Patient) -> None:
    name = patient.world.database
    patient.changes["COUCHDB_DBS"] = f"{name} {name}-sentinels"
    found = patient.examine()
    message, remedy = found.the("couchdb-databases")
    assert f"has no database {name}-sentinels" in message
    assert f"there is {name}" in message
    assert "COUCHDB_DBS" in remedy
    assert found.the("couchdb-databases", "ok")[0] == f"may be read: {name}"


def test_a_database_that_postgresql_does_not_have_is_found(patient: Patient) -> None:
    patient.changes["POSTGRES_DB"] = "not_made_yet"
    found = patient.examine()
    message, remedy = found.the("postgresql-login")
    assert "has no database not_made_yet" in message
    assert "cht-sync init-db --env prod" in remedy
    assert "POSTGRES_DB" in remedy


# 5: a database that is closed, or only its feed.


@pytest.mark.parametrize("status", [401, 403])
def test_changes_that_may_not_be_followed_are_found(
    patient: Patient, couchdb_door: BeforeCouchdb, status: int
) -> None:
    name = patient.world.database
    refusal = status, '{"error": "forbidden", "reason": "not for you"}'
    couchdb_door.answers = lambda path: refusal if path.startswith(f"/{name}/_changes") else None
    found = patient.examine()
    message, remedy = found.the("couchdb-changes")
    assert f"may read {name} but not its _changes (HTTP {status}: not for you)" in message
    assert "COUCHDB_USER" in remedy
    assert "couchdb-login" not in found.failed
    # It is no refused login: the next look asks again.
    couchdb_door.answers = lambda _path: None
    assert patient.examine().code == 0


def test_one_closed_database_leaves_the_others_well(patient: Patient, couchdb_door: BeforeCouchdb) -> None:
    name = patient.world.database
    installation(patient).init(f"{name} medic-closed")
    patient.changes["COUCHDB_DBS"] = f"medic-closed {name}"
    closed = 403, '{"error": "forbidden", "reason": "You are not allowed to access this db."}'
    couchdb_door.answers = lambda path: closed if path.startswith("/medic-closed") else None
    found = patient.examine()
    message, remedy = found.the("couchdb-databases")
    assert "may not read medic-closed" in message
    assert "members" in remedy
    assert found.the("couchdb-databases", "ok")[0] == f"may be read: {name}"
    assert found.failed == {"couchdb-databases"}


# 6 and 7: the schema and what roles may do.


def test_a_schema_that_was_never_made_is_found(patient: Patient) -> None:
    patient.changes["POSTGRES_SCHEMA"] = "v2"
    found = patient.examine()
    message, remedy = found.the("schema")
    assert "has no schema v2 of cht-sync" in message
    assert "cht-sync init-db --env prod" in remedy


def test_a_table_that_is_missing_is_found(patient: Patient, couchdb_door: BeforeCouchdb) -> None:
    patient.changes["COUCHDB_DBS"] = f"{patient.world.database} medic-new"
    couchdb_door.answers = lambda path: (200, '{"doc_count": 0, "last_seq": "0"}') if "new" in path else None
    found = patient.examine()
    message, remedy = found.the("schema")
    assert "has no table medic-new" in message
    assert "cht-sync init-db --env prod" in remedy


def test_a_schema_of_models_that_is_missing_is_found(patient: Patient) -> None:
    patient.changes["DBT_POSTGRES_SCHEMA"] = "models_elsewhere"
    message, remedy = patient.examine().the("schema")
    assert message == "there is no schema models_elsewhere for the models"
    assert "DBT_POSTGRES_SCHEMA" in remedy


def test_a_view_that_models_read_and_that_is_missing_is_found(patient: Patient) -> None:
    patient.changes["POSTGRES_TABLE"] = "documents"
    assert patient.examine().the("schema")[0] == "schema v1 has no table documents"


@pytest.mark.parametrize(("layout", "remedy"), [("0.0.1", "cht-sync init-db"), ("99.0.0", "git pull")])
def test_another_layout_is_found(patient: Patient, layout: str, remedy: str) -> None:
    there = installation(patient).value("select layout_version from v1.cht_sync_state")
    installation(patient).query("update v1.cht_sync_state set layout_version = %s", layout)
    try:
        message, what = patient.examine().the("schema")
    finally:
        installation(patient).query("update v1.cht_sync_state set layout_version = %s", there)
    assert layout in message
    assert there in message
    assert remedy in what


@pytest.mark.parametrize(
    ("revoked", "told"),
    [
        ("update on v1.{table} from {name}_ingest", "{name}_ingest: update on v1.{table}"),
        ("usage on schema v1 from {name}_ingest", "{name}_ingest: usage on schema v1"),
        ("select on v1.dead_letters from {name}_dbt", "{name}_dbt: select on v1.dead_letters"),
        ("select on v1.{table} from {name}_dbt", "{name}_dbt: select on v1.{table}"),
        ("{name}_anon from {name}_authenticator", "{name}_authenticator: membership on role {name}_anon"),
        ("usage on schema dbt from {name}_superset", "{name}_superset: usage on schema dbt"),
    ],
)
def test_a_role_without_a_grant_is_found_and_init_db_gives_it_back(
    patient: Patient, revoked: str, told: str
) -> None:
    words = {"name": installation(patient).name, "table": patient.world.database}
    installation(patient).query(f"revoke {revoked.format(**words)}")
    try:
        found = patient.examine()
        message, remedy = found.the("roles")
        assert message == f"a grant is missing. {told.format(**words)}"
        assert "cht-sync init-db --env prod" in remedy
    finally:
        installation(patient).init(patient.world.database)
    assert patient.examine().code == 0


def test_a_model_that_dashboards_may_not_read_is_found(patient: Patient) -> None:
    name = installation(patient).name
    installation(patient).query(
        f"create table dbt.hidden (); alter table dbt.hidden owner to {name}_dbt;"
        f"revoke all on dbt.hidden from {name}_superset"
    )
    try:
        message, _remedy = patient.examine().the("roles")
        assert message == f"a grant is missing. {name}_superset: select on dbt.hidden"
    finally:
        installation(patient).query("drop table dbt.hidden")


# 8 and 9: tokens.


def test_another_jwt_secret_is_found(patient: Patient) -> None:
    patient.changes["PGRST_JWT_SECRET"] = "another-secret-that-is-long-enough-9876543210"
    found = patient.examine()
    message, remedy = found.the("token")
    assert "PGRST301" in message
    assert "PGRST_JWT_SECRET" in remedy
    assert found.failed == {"token"}


@pytest.mark.parametrize(
    ("seconds", "result", "words"),
    [(120, "failed", "120 s ahead of"), (-120, "failed", "behind ours"), (15, "warning", "ahead of ours")],
)
def test_clocks_that_differ_are_found(
    patient: Patient, couchdb_door: BeforeCouchdb, seconds: float, result: str, words: str
) -> None:
    couchdb_door.seconds_ahead = seconds
    found = patient.examine()
    message, remedy = found.the("couchdb-clock", result)
    assert words in message
    assert "timedatectl" in remedy
    assert found.code == (1 if result == "failed" else 0)


def test_a_token_that_postgrest_takes_for_one_of_the_future_is_the_clocks_fault(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_a_machine_that_is_ahead(secret: str, role: str) -> str:
        now = int(time.time()) + 120
        return jwt.encode({"role": role, "iat": now, "exp": now + 600}, secret, algorithm="HS256")

    monkeypatch.setattr(postgrest_access, "make_token", of_a_machine_that_is_ahead)
    message, remedy = patient.examine().the("token")
    assert "issued at future (PGRST303)" in message
    assert "timedatectl" in remedy


def test_a_clock_of_postgresql_that_is_behind_is_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "clock", lambda _connection: time.time() - 90)
    message, _remedy = patient.examine().the("postgresql-clock")
    assert message.startswith("that of PostgreSQL is 90 s behind ours")


# 10: the disk.


@pytest.mark.parametrize(("free", "result"), [(10**8, "failed"), (3 * 10**9, "warning")])
def test_a_disk_that_fills_is_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, free: int, result: str
) -> None:
    monkeypatch.setattr(disk, "disk_free", lambda _folder: free)
    message, remedy = patient.examine().the("disk", result)
    assert message.startswith(f"{free / 1e9:.1f} GB free where state and logs are")
    assert "du " in remedy


def test_a_disk_without_room_for_more_files_is_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        values = list(real(path))
        values[7] = 12  # f_favail
        return os.statvfs_result(values)

    monkeypatch.setattr(disk.os, "statvfs", full)
    message, remedy = patient.examine().the("disk")
    assert message.startswith("12 more files fit")
    assert "du --inodes" in remedy


# 11: the saved position.


def test_a_position_that_couchdb_refuses_is_found_and_the_remedy_mends_it(patient: Patient) -> None:
    progress(patient, "seq = 'of-nobody'")
    message, remedy = patient.examine().the("positions")
    name = patient.world.database
    assert f"refuses the saved position of {name}" in message
    told = f"accept-server --database {name} --env prod"
    assert remedy == f"Read it again: cht-sync {told}"
    assert patient.run(*told.split()).exit_code == 0
    assert patient.examine().code == 0


def test_a_position_of_another_server_is_found(patient: Patient) -> None:
    progress(patient, "server_uuid = 'of-another'")
    message, remedy = patient.examine().the("positions")
    assert "belongs to the CouchDB of-another" in message
    assert "COUCHDB_HOST" in remedy
    assert "cht-sync accept-server" in remedy


def test_a_position_in_a_database_that_was_made_anew_is_found(patient: Patient) -> None:
    progress(patient, "instance_start_time = '1'")
    message, remedy = patient.examine().the("positions", "warning")
    assert "was deleted and made anew" in message
    assert "cht-sync up" in remedy


def test_a_position_that_may_be_ahead_of_couchdb_is_to_be_verified_before_all_is_read_again(
    patient: Patient,
) -> None:
    progress(patient, "seq = '999999'")
    found = patient.examine()
    message, remedy = found.the("positions", "warning")
    assert "begins with 999999" in message
    assert "on a cluster these numbers need not grow" in message
    assert 0 < remedy.index("cht-sync verify") < remedy.index("cht-sync accept-server")
    assert found.code == 0


def test_a_pipeline_that_does_not_run_is_found_by_what_waits(patient: Patient) -> None:
    patient.world.put("three")
    progress(patient, "updated_at = clock_timestamp() - interval '12 minutes'")
    message, remedy = patient.examine().the("positions")
    assert "1 changes wait, and no pipeline gave a sign of life for 12 min: none runs" in message
    assert "cht-sync up --env prod" in remedy


def test_what_an_operator_must_decide_is_told(patient: Patient) -> None:
    progress(patient, "problem = 'this is another server'")
    assert "is not read: this is another server" in patient.examine().the("positions")[0]


# 12: the package of models.


def package(patient: Patient, address: str) -> tuple[str, str]:
    patient.changes["CHT_PIPELINE_BRANCH_URL"] = address
    found = patient.examine()
    assert found.failed == {"package"}
    message, remedy = found.the("package")
    assert "CHT_PIPELINE_BRANCH_URL" in remedy
    return message, remedy


def test_a_package_whose_host_is_away_is_found(patient: Patient) -> None:
    message, _remedy = package(patient, f"http://127.0.0.1:{free_port()}/pipeline.git#main")
    assert "unable to access" in message


def test_a_package_that_is_not_there_or_has_no_such_branch_is_found(patient: Patient, tmp_path: Path) -> None:
    Repository(tmp_path / "repositories" / "small")
    with serving_git(tmp_path / "repositories") as server:
        message, remedy = package(patient, f"{server.url}/absent#main")
        assert "not found" in message
        assert "CHT_PIPELINE_TOKEN" in remedy
        message, _remedy = package(patient, f"{server.url}/small/.git#no-such-branch")
        assert "it has no branch and no tag 'no-such-branch'" in message
        before = {*tmp_path.rglob("*")}
        patient.changes["CHT_PIPELINE_BRANCH_URL"] = f"{server.url}/small/.git#main"
        assert patient.examine().code == 0
        assert {*tmp_path.rglob("*")} == before


def test_a_package_whose_folder_is_not_there_is_found(patient: Patient, tmp_path: Path) -> None:
    assert "there is no" in package(patient, str(tmp_path / "absent"))[0]
    assert "holds no dbt_project.yml" in package(patient, str(tmp_path))[0]


def test_a_tarball_that_is_none_is_found(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "package.tar.gz").write_text("<html>sign in</html>")
    with serving_git(tmp_path / "served") as server:
        assert "cannot be unpacked" in package(patient, f"{server.url}/package.tar.gz")[0]


# 13: secrets that others know.


@pytest.mark.parametrize(
    ("variable", "default"),
    [
        ("SUPERSET_SECRET_KEY", "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET"),
        ("SUPERSET_PASSWORD", "admin"),
    ],
)
def test_a_default_of_superset_is_found(patient: Patient, variable: str, default: str) -> None:
    patient.changes[variable] = default
    done = patient.run("doctor", "--env", "prod", "--runtime", "embedded")
    assert done.exit_code == 2
    assert f"{variable} is a default or an example, which others know" in done.stdout
    assert "openssl rand -hex 32" in done.stdout
    # What does not depend on it is asked all the same.
    assert "✓ couchdb-login" in done.stdout
    assert "✓ token" in done.stdout


def test_a_default_of_superset_is_told_on_ones_own_machine_too(patient: Patient) -> None:
    patient.changes["SUPERSET_PASSWORD"] = "superset"
    message, remedy = _local(patient)
    assert message == "SUPERSET_PASSWORD is a default or an example, which others know"
    assert "SUPERSET_PASSWORD" in remedy


def _local(patient: Patient) -> tuple[str, str]:
    done = patient.run("doctor", "--json", "--env", "local", "--runtime", "embedded")
    (one,) = (
        each
        for each in json.loads(done.stdout)
        if each["check"] == "superset-secrets" and each["result"] == "warning"
    )
    return one["message"], one["remedy"]


# 14: ports.


@contextmanager
def listener() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        yield int(one.getsockname()[1])


def test_a_port_that_is_taken_is_found_with_who_has_it(patient: Patient) -> None:
    with listener() as port:
        patient.changes["SUPERSET_PORT"] = str(port)
        message, remedy = (found := patient.examine()).the("ports")
    assert message.startswith(f"port {port}, for superset, is taken by ")
    assert f"(process {os.getpid()})" in message
    assert "SUPERSET_PORT" in remedy
    assert found.failed == {"ports"}


# 15: Docker.


@pytest.mark.parametrize(("runtime", "result"), [("docker", "failed"), ("auto", "warning")])
def test_docker_that_is_missing_is_found(patient: Patient, runtime: str, result: str) -> None:
    message, remedy = (found := patient.examine(runtime=runtime)).the("docker", result)
    assert message.startswith("no Docker engine at unix:///nowhere/docker.sock")
    assert "sudo systemctl start docker" in remedy
    assert ("docker" in found.failed) is (runtime == "docker")


@pytest.mark.parametrize(
    ("said", "message"),
    [("exit 1", "docker compose: "), ("echo 2.3.4", "docker compose 2.3.4 is older than 2.20")],
)
def test_a_compose_that_is_missing_or_old_is_found(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str
) -> None:
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(engines, "connected", lambda: nullcontext(object()))
    found, remedy = patient.examine(runtime="docker").the("docker")
    assert found.startswith(message)
    assert "docker-compose-plugin" in remedy


def test_docker_is_not_asked_for_where_processes_are_wanted(patient: Patient) -> None:
    assert patient.examine().the("docker", "skipped") == ("local processes need none", "")
