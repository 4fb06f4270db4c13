"""No secret of a running environment is anywhere but where it is needed.

One installation with secrets that are told from everything else, at the lowest levels of the logs; what
fails in it fails on purpose, since errors quote.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from whole_installation import Installation, wait_for

from cht_sync import render
from cht_sync.runtime.containers import handed_out
from cht_sync.settings import declared

UP = ("up", "--env", "local", "--runtime", "embedded", "--detach", "--without", "superset")
HASH = "5ec1237de71ed6e7"
"""Of a password, as CouchDB keeps it."""
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secrets() -> dict[str, str]:
    """A value for each, with what must be escaped in URLs, shells and SQL."""
    return {
        name: f"{name.lower()}-9d2f1c7b5e3a8460-@:/%27$'\"{number:x}"
        for number, (name, variable) in enumerate(declared())
        if variable.secret and not variable.issued
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """It has read documents, refused one, and failed in each part."""
    home = tmp_path_factory.mktemp("home")
    made = Installation(home, {"COUCHDB_DBS": "medic _users", "DATAEMON_INTERVAL": "1", **secrets()})
    try:
        said = made.run(*UP, "--without", "data-generator")
        (home / "said").write_text(said.stdout + said.stderr)
        _work(made)
        yield made
    finally:
        made.run("down", "--volumes", "--yes", check=False)
        left = made.processes()
        for process in left:
            process.kill()
        assert left == []


def _work(made: Installation) -> None:
    state = made.state
    (port,) = (one.port for one in state.services if one.name == "logstash")
    levels = {"logger.": "TRACE", "logger.cht_sync": "TRACE"}
    requests.put(f"http://127.0.0.1:{port}/_node/logging", json=levels, timeout=20).raise_for_status()
    user = {"_id": "org.couchdb.user:ada", "name": "ada", "type": "user", "roles": []}
    password = {"password_scheme": "pbkdf2", "derived_key": HASH, "salt": HASH, "iterations": 10}
    made.couchdb("PUT", f"_users/{quote(user['_id'])}", json=user | password)
    # What jsonb refuses, so that the whole of it is noted or becomes a letter.
    made.couchdb(
        "PUT",
        "_users/org.couchdb.user:odd",
        json={**user, **password, "_id": "org.couchdb.user:odd", "name": "a\0"},
    )
    made.couchdb("PUT", "medic/ada", json={"type": "person", "name": "Ada"})
    made.couchdb("PUT", f"medic/{quote('nul' + chr(0))}", json={"type": "person"})
    wait_for(lambda: len(made.sql("select 1 from v1.dead_letters")) >= 1, "the letter", made.logs)
    wait_for(lambda: len(made.sql("select 1 from v1._users")) >= 2, "the users", made.logs)
    for service in ("postgrest", "couchdb"):
        pid = made.process_id(service)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda service=service, pid=pid: made.process_id(service) != pid, service, made.logs)
    wait_for(lambda: {one.state for one in made.state.services} == {"running"}, "all", made.logs)
    made.couchdb("PUT", "medic/bea", json={"type": "person", "name": "Bea"})
    wait_for(lambda: made.sql("select 1 from v1.medic where _id = 'bea'") != [], "the next", made.logs)
    _an_engine_that_says_all_from_its_start(made)


def _an_engine_that_says_all_from_its_start(made: Installation) -> None:
    settings = made.settings
    words = ["pipeline", "run", "--path.settings", str(settings.data_folder / "logstash")]
    words += ["--path.data", str(made.home / "second"), "--log.level", "trace", "--api.enabled", "false"]
    wrong = {"COUCHDB_PORT": "1"}
    other = Installation(made.home, {**made.variables, **render.variables(settings), **wrong})
    engine = other.start(*words)
    try:
        said: list[str] = []
        assert engine.stdout is not None
        for line in engine.stdout:
            said.append(line)
            if "next try in" in line:
                break
    finally:
        engine.terminate()
        rest, _ = engine.communicate(timeout=60)
    (made.home / "second.log").write_text("".join(said) + rest)


def spellings(secret: str) -> list[bytes]:
    """As it is, and as it stands in URLs, JSON and pgpass files."""
    json_text = secret.replace("\\", "\\\\").replace('"', '\\"')
    pgpass = secret.replace("\\", "\\\\").replace(":", "\\:")
    return [text.encode() for text in {secret, quote(secret, safe=""), quote(secret), json_text, pgpass}]


def found_in(text: bytes, given: dict[str, str]) -> list[str]:
    return [name for name, secret in given.items() if any(one in text for one in spellings(secret))]


def test_no_log_has_one(running: Installation) -> None:
    logs = [*(running.home / ".cht-sync").rglob("*.log*"), running.home / "second.log", running.home / "said"]
    assert {"logstash.log", "postgrest.log", "dbt.log", "supervisor.log"} <= {one.name for one in logs}
    assert b"next try in" in (running.home / "second.log").read_bytes()
    for log in logs:
        text = log.read_bytes()
        assert found_in(text, secrets()) == [], log
        assert HASH.encode() not in text, log


def test_no_process_shows_one_in_its_arguments(running: Installation) -> None:
    processes = running.processes()
    children = [child for one in processes for child in one.children(recursive=True)]
    seen = 0
    for process in {*processes, *children}:
        try:
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        seen += 1
        assert found_in(arguments, secrets()) == [], arguments
    assert seen >= 5


def test_no_process_of_somebody_elses_can_read_the_environment(running: Installation) -> None:
    for process in running.processes():
        try:
            mode = Path(f"/proc/{process.pid}/environ").stat().st_mode
        except FileNotFoundError:
            continue
        assert mode & OTHERS == 0


def test_files_with_a_secret_are_for_their_owner_only(running: Installation) -> None:
    state = running.home / ".cht-sync"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    holding = []
    for file in state.rglob("*"):
        if not file.is_file() or file.is_symlink():
            continue
        try:
            names = found_in(file.read_bytes(), secrets())
        except FileNotFoundError:
            continue
        if names:
            holding.append(file.name)
            assert file.stat().st_mode & OTHERS == 0, (file, names)
    # What psql, curl and a person are given, and the settings with which all of it was started.
    assert {*holding} == {"pgpass", "netrc", "superset-password", "state.json"}


def test_no_page_of_the_monitoring_has_one(running: Installation) -> None:
    ports = {one.name: one.port for one in running.state.services}
    pages = [
        *(
            f"{ports['logstash']}{path}"
            for path in ("/", "/_node", "/_node/pipelines", "/_node/stats", "/metrics")
        ),
        *(
            f"{ports['logstash']}{path}"
            for path in ("/_node/logging", "/_node/plugins", "/_node/hot_threads", "/readyz")
        ),
        *(f"{ports['dbt']}{path}" for path in ("/metrics", "/healthz")),
        *(f"{ports['postgrest']}{path}" for path in ("/", "/medic", "/nothing")),
    ]
    for page in pages:
        answer = requests.get(f"http://127.0.0.1:{page}", timeout=20)
        assert found_in(answer.content + str(answer.headers).encode(), secrets()) == [], page


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json"),
        ("verify",),
        ("logs",),
        ("dead-letters", "list", "--json"),
        ("render-config", "--output", "-"),
        ("forms",),
    ],
    ids=" ".join,
)
def test_no_command_says_one(running: Installation, words: tuple[str, ...]) -> None:
    done = running.run(*words, check=False)
    assert found_in((done.stdout + done.stderr).encode(), secrets()) == []


def test_no_error_says_one(running: Installation) -> None:
    settings = running.settings
    given = {
        **running.variables,
        "COUCHDB_HOST": "127.0.0.1",
        "COUCHDB_PORT": "1",
        "POSTGRES_HOST": "127.0.0.1",
    }
    for changed in (
        {"POSTGRES_PORT": "1"},
        {"POSTGRES_PORT": str(settings.postgres_port), "POSTGRES_PASSWORD": "wrong-9d2f1c7b5e3a8460"},
        {"PGRST_JWT_SECRET": "short-9d2f1c7b"},
        {"CHT_PIPELINE_BRANCH_URL": "https://ada:9d2f1c7b5e3a8460@git.example.org/x.git"},
        {"HTTP_ENDPOINT": "ada:9d2f1c7b5e3a8460@postgrest:3000"},
        {"COUCHDB_HOST": "ada:9d2f1c7b5e3a8460@couchdb"},
    ):
        other = Installation(running.home / "other", {**given, **changed})
        other.home.mkdir(exist_ok=True)
        refused = other.run("up", "--env", "prod", "--detach", check=False)
        assert refused.returncode != 0
        said = (refused.stdout + refused.stderr).encode()
        assert found_in(said, secrets()) == []
        assert b"9d2f1c7b" not in said, said


def test_dead_letters_hold_no_password_and_no_login(running: Installation) -> None:
    kept = str(running.sql("select * from v1.dead_letters")) + str(
        running.sql("select * from v1.replaced_values")
    )
    files = b"".join(file.read_bytes() for file in (running.home / ".cht-sync").rglob("*.jsonl"))
    assert "nul" in kept
    assert found_in(kept.encode() + files, secrets()) == []
    assert HASH not in kept and HASH.encode() not in files
    assert HASH not in str(running.sql("select doc from v1._users"))


def test_only_who_needs_a_secret_is_handed_it(running: Installation) -> None:
    found = handed_out.handed_out(running.settings)
    holders = {
        "COUCHDB_PASSWORD": {"couchdb", "couchdb-setup", "data-generator", "logstash", "load", "cht-sync"},
        "POSTGRES_PASSWORD": {"postgres", "init-db", "load", "cht-sync"},
        "PGRST_JWT_SECRET": {"postgrest", "logstash", "cht-sync"},
        "PGRST_DB_PASSWORD": {"postgrest", "init-db", "cht-sync"},
        "DBT_POSTGRES_PASSWORD": {"dbt", "init-db", "cht-sync"},
        "SUPERSET_PASSWORD": {"superset", "cht-sync"},
        "SUPERSET_SECRET_KEY": {"superset", "cht-sync"},
        "SUPERSET_DB_PASSWORD": {"superset", "init-db", "cht-sync"},
        "REDACT_HASH_SECRET": {"logstash", "load", "cht-sync"},
    }
    assert {*holders} == {*secrets()}
    for name, secret in secrets().items():
        texts = {service: "\n".join(variables.values()).encode() for service, variables in found.items()}
        assert {one for one, text in texts.items() if found_in(text, {name: secret})} == holders[name], name
