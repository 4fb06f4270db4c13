"""What is not ours is asked before anything starts, and everything that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psycopg2
import pytest
from couchdb_fixture import CouchDBServer
from free_ports import free_port
from loopback_server import LoopbackServer, serving
from postgres_fixture import PostgresServer
from settings.test_settings import COMPLETE

from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime import preflight
from cht_sync.settings import Settings, load

PROD = SERVICES[Environment.PROD]
FORBIDDEN = (403, '{"error": "forbidden", "reason": "You are not allowed to access this db."}')
LOCKED = (403, '{"error": "forbidden", "reason": "Account is temporarily locked"}')


class Scripted(LoopbackServer):
    """Answers each path as it is told, and counts the requests."""

    def __init__(self, answers: Mapping[str, tuple[int, str]]) -> None:
        super().__init__(_Handler)
        self.answers = answers
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, body = self.server.answers.get(self.path, (200, '{"doc_count": 1}'))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def prod(
    tmp_path: Path, postgres_server: PostgresServer, couchdb_server: CouchDBServer, couchdb_database: str
) -> Settings:
    """Settings with which everything is well."""
    return load(
        Environment.PROD,
        home=tmp_path,
        environ=COMPLETE
        | {
            "COUCHDB_HOST": couchdb_server.host,
            "COUCHDB_PORT": str(couchdb_server.port),
            "COUCHDB_USER": couchdb_server.user,
            "COUCHDB_PASSWORD": couchdb_server.password,
            "COUCHDB_DBS": couchdb_database,
            "POSTGRES_HOST": postgres_server.host,
            "POSTGRES_PORT": str(postgres_server.port),
            "POSTGRES_USER": postgres_server.user,
            "POSTGRES_PASSWORD": postgres_server.password,
        },
    )


@pytest.fixture
def poor_user(postgres_server: PostgresServer) -> Iterator[str]:
    """A role that logs in and may make nothing; its password is its name."""
    connection = psycopg2.connect(postgres_server.dsn())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("create role preflight_poor login password 'preflight_poor'")
        yield "preflight_poor"
        cursor.execute("drop role preflight_poor")
    connection.close()


def asking(prod: Settings, server: LoopbackServer, **changed: object) -> Settings:
    return replace(prod, couchdb_port=server.port, **changed)  # type: ignore[arg-type]


def test_nothing_is_said_where_all_is_well(prod: Settings) -> None:
    assert preflight.look(prod, PROD) == preflight.Found()


def test_what_is_started_here_is_not_asked(prod: Settings) -> None:
    nowhere = replace(prod, postgres_port=free_port(), couchdb_port=free_port())
    assert preflight.look(nowhere, SERVICES[Environment.LOCAL]) == preflight.Found()
    assert preflight.look(nowhere, [*SERVICES[Environment.GAMMA], "couchdb"]) == preflight.Found()


def test_a_postgresql_that_does_not_answer_is_refused(prod: Settings) -> None:
    nowhere = replace(prod, postgres_port=free_port())
    assert preflight.look(nowhere, PROD).problems == [
        f"PostgreSQL at 127.0.0.1:{nowhere.postgres_port} cannot be reached: Connection refused. "
        "Check POSTGRES_HOST and POSTGRES_PORT, and whether PostgreSQL runs there."
    ]


def test_a_pipeline_alone_needs_no_postgresql(prod: Settings) -> None:
    assert preflight.look(replace(prod, postgres_port=free_port()), ["logstash"]) == preflight.Found()


def test_something_else_on_the_port_of_postgresql_is_refused(prod: Settings) -> None:
    other = replace(prod, postgres_port=prod.couchdb_port)
    (problem,) = preflight.look(other, PROD).problems
    assert f"PostgreSQL at 127.0.0.1:{prod.couchdb_port} cannot be reached" in problem


def test_a_wrong_password_for_postgresql_is_refused(prod: Settings) -> None:
    (problem,) = preflight.look(replace(prod, postgres_password="swordfish-1"), PROD).problems
    assert f"refuses {prod.postgres_user}: password authentication failed" in problem
    assert "swordfish" not in problem


def test_a_missing_database_is_refused_only_where_it_cannot_be_made(prod: Settings, poor_user: str) -> None:
    missing = replace(prod, postgres_db="not_there_yet")
    assert preflight.look(missing, PROD) == preflight.Found()
    poor = replace(missing, postgres_user=poor_user, postgres_password=poor_user)
    (problem,) = preflight.look(poor, PROD).problems
    assert "has no database not_there_yet, and preflight_poor may not make one" in problem
    assert "cht-sync init-db --admin-url" in problem


def test_models_elsewhere_need_a_postgresql_that_answers_there(prod: Settings) -> None:
    (problem,) = preflight.look(replace(prod, dbt_postgres_host="127.0.0.255"), PROD).problems
    assert problem.startswith("PostgreSQL at 127.0.0.255")
    assert problem.endswith("; check DBT_POSTGRES_HOST")
    # Answers, though it does not know the role of the models yet.
    assert preflight.look(replace(prod, dbt_postgres_host="localhost"), PROD) == preflight.Found()


def test_a_couchdb_that_is_away_only_warns(prod: Settings) -> None:
    found = preflight.look(replace(prod, couchdb_port=free_port()), PROD)
    assert found.problems == []
    (warning,) = found.warnings
    assert warning.endswith("does not answer (ConnectionError); the pipelines wait for it")


def test_https_asked_of_a_couchdb_with_http_is_refused(prod: Settings) -> None:
    """Waiting would not mend it."""
    (problem,) = preflight.look(replace(prod, couchdb_secure=True), PROD).problems
    assert "speaks http, and it is asked by https: COUCHDB_SECURE=true; set COUCHDB_SECURE=false" in problem


def test_a_postgresql_on_the_port_of_couchdb_is_refused(prod: Settings) -> None:
    (problem,) = preflight.look(replace(prod, couchdb_port=prod.postgres_port), PROD).problems
    assert "is not CouchDB: it speaks PostgreSQL; correct COUCHDB_HOST and COUCHDB_PORT" in problem


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_couchdb_that_is_busy_only_warns(prod: Settings, status: int) -> None:
    with serving(Scripted({"/medic": (status, "<html>")})) as server:
        found = preflight.look(asking(prod, server, couchdb_dbs=("medic",)), PROD)
    assert (found.problems, len(found.warnings)) == ([], 1)


def test_a_wrong_login_is_asked_once_however_often_somebody_tries(
    prod: Settings, couchdb_server: CouchDBServer
) -> None:
    wrong = replace(prod, couchdb_password="swordfish-1", couchdb_dbs=(*prod.couchdb_dbs, "another"))
    (problem,) = preflight.look(wrong, PROD).problems
    assert f"CouchDB at {couchdb_server.url} refuses the login of {prod.couchdb_user}" in problem
    with serving(Scripted({"/medic": (401, '{"error": "unauthorized", "reason": "Name or password"}')})) as (
        server
    ):
        scripted = asking(wrong, server, couchdb_dbs=("medic", "another"))
        first, second = (preflight.look(scripted, PROD).problems for _again in range(2))
        assert server.asked == ["/medic"]
        assert "is not asked again for five minutes" in second[0]
        assert len(first) == len(second) == 1
        assert preflight.look(replace(scripted, couchdb_password="swordfish-2"), PROD).problems == first
    assert "swordfish" not in "".join([problem, *first, *second])


def test_a_locked_account_is_left_alone(prod: Settings) -> None:
    with serving(Scripted({"/medic": LOCKED})) as server:
        locked = asking(prod, server, couchdb_dbs=("medic", "another"))
        for _again in range(2):
            assert len(preflight.look(locked, PROD).problems) == 1
        assert server.asked == ["/medic"]


def test_databases_that_are_missing_or_closed_are_all_named(prod: Settings) -> None:
    missing = (404, '{"error": "not_found", "reason": "Database does not exist."}')
    with serving(Scripted({"/medic": missing, "/medic-sentinel": FORBIDDEN})) as server:
        databases = ("medic", "medic-sentinel", "medic-users-meta")
        first, second = preflight.look(asking(prod, server, couchdb_dbs=databases), PROD).problems
    assert "has no database medic; correct COUCHDB_DBS" in first
    assert f"{prod.couchdb_user} may not read medic-sentinel; add the user to the members" in second


def test_a_real_couchdb_tells_that_a_database_is_missing(prod: Settings) -> None:
    (problem,) = preflight.look(replace(prod, couchdb_dbs=("not-there",)), PROD).problems
    assert "has no database not-there" in problem


@pytest.mark.parametrize(
    "answer", [(200, "<html>"), (200, "[]"), (200, "{}"), (404, "<html>"), (301, ""), (400, "{}")]
)
def test_something_else_on_the_port_of_couchdb_is_refused(prod: Settings, answer: tuple[int, str]) -> None:
    with serving(Scripted({"/medic": answer})) as server:
        (problem,) = preflight.look(asking(prod, server, couchdb_dbs=("medic", "another")), PROD).problems
    assert problem.startswith(f"what answers at {server.url} is not CouchDB (HTTP {answer[0]})")


def test_all_that_is_wrong_is_told_at_once(prod: Settings) -> None:
    wrong = replace(prod, postgres_port=free_port(), couchdb_password="swordfish-1")
    with pytest.raises(SettingsError) as refusal:
        preflight.refuse(wrong, PROD)
    assert [problem.partition(" at ")[0] for problem in refusal.value.problems] == ["PostgreSQL", "CouchDB"]
    assert refusal.value.hint == "Nothing was started."


def test_containers_call_this_machine_by_another_name(prod: Settings) -> None:
    inside = replace(prod, couchdb_host="host.docker.internal", postgres_host="host.docker.internal")
    assert preflight.look(preflight.from_here(inside), PROD) == preflight.Found()
    assert preflight.from_here(prod) == prod
