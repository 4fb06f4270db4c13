"""Where all is well the doctor says so; it changes nothing and tells no secret, whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from free_ports import free_port
from warehouse.partitioning import partition

from cht_sync.runtime import embedded
from cht_sync.settings import declared
from doctor.before_couchdb import BeforeCouchdb
from doctor.patient import Diagnosis, Patient

SHAPE = {"check", "group", "result", "message", "remedy"}
GROUPS = [
    "machine",
    "settings",
    "CouchDB",
    "PostgreSQL",
    "PostgREST",
    "pipelines",
    "dbt",
    "Superset",
    "Docker",
]


@pytest.fixture(autouse=True)
def python_for_superset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Python this machine has."""
    monkeypatch.setattr(embedded, "unavailable", dict)


def everything(patient: Patient) -> dict[str, object]:
    """What there is of the installation: its files, and each row's version."""
    home = patient.world.home
    files = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.rglob("*")}
    installation = patient.world.installation
    tables = installation.query(
        "select oid::regclass::text, relacl::text from pg_class where relkind = 'r' "
        "and relnamespace in ('v1'::regnamespace, 'dbt'::regnamespace) order by 1"
    )
    rows = {name: installation.query(f"select xmin::text, * from {name}") for name, _rights in tables}
    roles = installation.query("select rolname, rolpassword from pg_authid order by 1")
    documents = patient.world.ask("GET", "", params={})["update_seq"]
    return {"files": files, "tables": tables, "rows": rows, "roles": roles, "documents": documents}


def test_a_healthy_installation_has_no_warning(patient: Patient) -> None:
    found = patient.examine()
    assert (found.of("failed"), found.of("warning"), found.code) == ([], [], 0)
    assert {frozenset(one) for one in found.found} == {frozenset(SHAPE)}
    assert list(dict.fromkeys(one["group"] for one in found.found)) == GROUPS
    # What was not asked is what does not run here, and Docker, which nobody wants.
    assert {one["check"] for one in found.of("skipped")} == {
        "services",
        "engine",
        "dbt-loop",
        "models",
        "superset",
        "docker",
    }


def test_a_partitioned_table_is_healthy(patient: Patient) -> None:
    partition(patient.world.installation, 4, table=patient.world.database)
    found = patient.examine()
    assert (found.of("failed"), found.of("warning"), found.code) == ([], [], 0)


def test_nothing_is_changed_by_the_doctor(patient: Patient) -> None:
    before = everything(patient)
    patient.examine()
    assert everything(patient) == before


def test_one_login_serves_all_questions_and_few_are_asked(
    patient: Patient, couchdb_door: BeforeCouchdb
) -> None:
    assert patient.examine().code == 0
    assert len(couchdb_door.asked) < 10


def test_the_screen_shows_each_group_once_and_what_to_do_below(patient: Patient) -> None:
    patient.changes["POSTGRES_PORT"] = str(free_port())
    lines = patient.run("doctor", "--env", "prod", "--runtime", "embedded").stdout.splitlines()
    assert lines[0] == "cht-sync prod (embedded)"
    assert [line for line in lines if line in GROUPS] == GROUPS
    (place,) = (n for n, line in enumerate(lines) if line.startswith("  ✗ postgresql-login"))
    assert lines[place + 1].startswith("    → Check POSTGRES_HOST and POSTGRES_PORT")
    assert any(line.startswith("  - schema") and line.endswith("(and 3 more)") for line in lines)
    assert lines[-1].startswith("1 failed, ")


def test_everything_at_once_is_wrong_and_no_secret_is_told(patient: Patient) -> None:
    """The patient's `examine` looks for every secret in what is printed."""
    for name, variable in declared():
        if variable.secret and not variable.issued:
            patient.changes[name] = f"swordfish-of-{name.lower()}-0123456789"
    patient.changes["CHT_PIPELINE_TOKEN"] = "swordfish-of-a-token"
    patient.changes["CHT_PIPELINE_BRANCH_URL"] = f"http://127.0.0.1:{free_port()}/pipeline.git#main"
    found = patient.examine()
    assert {"couchdb-login", "postgresql-login", "token", "package"} <= found.failed
    shown = patient.run("doctor", "--env", "prod", "--runtime", "embedded").stdout
    assert "swordfish" not in json.dumps(found.found) + shown


def test_settings_that_are_refused_are_all_told_and_the_rest_is_asked(patient: Patient) -> None:
    patient.changes |= {"POSTGRES_PORT": "x", "SUPERSET_PORT": "y", "PGRST_JWT_SECRET": ""}
    found = patient.examine()
    assert found.code == 2
    assert found.failed == {"settings"}
    assert [one["message"].split()[0] for one in found.of("failed")] == [
        "POSTGRES_PORT",
        "PGRST_JWT_SECRET",
        "SUPERSET_PORT",
    ]
    assert found.the("schema", "skipped")[0] == "POSTGRES_PORT must be set right first"
    assert found.the("token", "skipped")[0] == "PGRST_JWT_SECRET must be set right first"
    assert found.the("couchdb-changes", "ok")


def test_a_password_goes_nowhere_where_it_was_refused_to_go(patient: Patient) -> None:
    patient.changes["COUCHDB_HOST"] = "couchdb.example.org"
    found = patient.examine()
    assert found.code == 2
    assert found.the("couchdb-login", "skipped")[0] == "COUCHDB_SECURE must be set right first"


def test_an_env_file_that_cannot_be_read_leaves_the_machine_to_look_at(patient: Patient) -> None:
    file = Path(patient.world.home, ".env")
    file.write_text("COUCHDB_PROT=5984\n")
    found = patient.examine()
    assert found.code == 2
    assert "COUCHDB_PROT is no setting" in found.the("settings")[0]
    assert found.the("schema", "skipped")[0] == "the settings cannot be read"
    assert found.the("memory", "ok")
    assert found.the("env-file", "warning")[1] == f"chmod 600 {file}"


def test_an_env_file_that_is_a_folder_is_found(patient: Patient) -> None:
    Path(patient.world.home, ".env").mkdir()
    message, remedy = patient.examine().the("env-file")
    assert message.endswith(".env is no file")
    assert "cht-sync init --env prod" in remedy


def test_what_up_shall_not_start_is_not_asked_for(patient: Patient) -> None:
    patient.changes |= {"SUPERSET_SECRET_KEY": "", "SUPERSET_ADMIN_PASSWORD": ""}
    assert patient.examine().code == 2
    found = patient.examine("--without", "superset")
    assert found.code == 0
    assert found.the("superset-secrets", "skipped")[0] == "superset is none of the services here"


def test_before_the_first_start_of_local_nothing_is_wrong_and_nothing_is_made(patient: Patient) -> None:
    for variable in ("COUCHDB_PORT", "POSTGRES_PORT"):
        patient.changes[variable] = str(free_port())
    found: Diagnosis = patient.examine(environment="local")
    assert (found.code, found.failed) == (0, set())
    # Not the server of others that HTTP_ENDPOINT names.
    assert found.the("postgrest", "skipped")[0] == "postgrest is not running"
    assert found.the("couchdb-login", "skipped")[0] == "couchdb is not running"
    assert list(patient.world.home.glob(".cht-sync/local")) == []


@pytest.mark.parametrize("file", ["docker.json", "state.json"])
def test_a_record_that_cannot_be_read_leaves_the_machine_to_look_at(patient: Patient, file: str) -> None:
    folder = Path(patient.world.home, ".cht-sync")
    folder.mkdir(exist_ok=True)
    Path(folder, file).write_text("{")
    found = patient.examine()
    message, remedy = found.the("services")
    assert f"{file} cannot be read" in message
    assert remedy.startswith("Delete that file")
    assert found.the("memory", "ok")
    assert found.the("settings", "ok")[0] == "all are accepted for prod"
    assert {found.the(check, "skipped")[0] for check in ("schema", "token", "superset", "engine")} == {
        "what runs here is not known"
    }
    assert found.code == 1


def test_settings_are_refused_also_where_the_record_cannot_be_read(patient: Patient) -> None:
    folder = Path(patient.world.home, ".cht-sync")
    folder.mkdir(exist_ok=True)
    Path(folder, "state.json").write_text("{")
    patient.changes |= {"POSTGRES_PORT": "xx", "LOG_LEVEL": "zz"}
    found = patient.examine()
    assert found.code == 2
    assert {one["message"].split()[0] for one in found.of("failed") if one["check"] == "settings"} == {
        "POSTGRES_PORT",
        "LOG_LEVEL",
    }
    assert found.the("services")[0].endswith("cannot be read: Input data was truncated")


def test_settings_that_nobody_could_judge_are_not_called_accepted(patient: Patient) -> None:
    folder = Path(patient.world.home, ".cht-sync")
    for damaged in (folder / "state.json", folder / "local" / "secrets.json"):
        damaged.parent.mkdir(parents=True, exist_ok=True)
        damaged.write_text("{")
    found = patient.examine(environment="local")
    assert found.of("ok")
    message, _remedy = found.the("settings", "skipped")
    assert message == f"they cannot be judged: {folder / 'local' / 'secrets.json'} is damaged"


def test_a_dead_letter_that_is_open_is_to_be_looked_at(patient: Patient) -> None:
    patient.world.installation.query(
        "insert into v1.dead_letters (fingerprint, source, database, code, reason) "
        "values ('one', 'here', 'medic', '22021', 'what')"
    )
    message, remedy = (found := patient.examine()).the("dead-letters", "warning")
    assert message == "medic: 1 open, which PostgreSQL cannot hold"
    assert remedy == "See them: cht-sync dead-letters list --env prod"
    assert found.code == 0
