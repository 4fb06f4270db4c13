"""gamma and prod refuse secrets that protect nothing, and a login that anybody on the way can read."""

from __future__ import annotations

from pathlib import Path

import pytest
from settings.test_settings import COMPLETE, SECRET, loaded, problems

from cht_sync import values, weak_secrets
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.settings import declared, load, missing_secrets

OURS = sorted(
    name
    for name, one in declared()
    if one.secret and not one.issued and name not in {"COUCHDB_PASSWORD", "POSTGRES_PASSWORD"}
)
SUPERSETS_KEYS = (
    "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET",
    "YOUR_OWN_RANDOM_GENERATED_SECRET_KEY",
    "TEST_NON_DEV_SECRET",
    "thisISaSECRET_1234",
    "\x02\x01thisismyscretkey\x01\x02\\e\\y\\y\\h",
)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("text", ["x" * 40, "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET"])
@pytest.mark.parametrize("environment", [Environment.GAMMA, Environment.PROD])
def test_every_secret_of_ours_is_judged_outside_local(
    name: str, text: str, environment: Environment, tmp_path: Path
) -> None:
    (problem,) = problems(COMPLETE | {name: text}, tmp_path, environment)
    assert problem.startswith(f"{name} ")
    assert problem.endswith("; make one with: openssl rand -hex 32")
    assert text not in problem


@pytest.mark.parametrize(
    "secret",
    ["password", "Password1", "changeme", "CHANGE_ME", "postgres", "medic", "<password>", "...", "123456789",
     "a long random text", "reader-2024", *SUPERSETS_KEYS],
)  # fmt: skip
def test_what_everybody_knows_is_refused(secret: str) -> None:
    assert weak_secrets.well_known(secret, "reader") is not None


@pytest.mark.parametrize("secret", ["k7Gq-2mPw", "83920174", "readers"])
def test_what_is_merely_short_is_not_taken_for_known(secret: str) -> None:
    assert weak_secrets.well_known(secret, "reader") is None
    assert weak_secrets.weak(secret, "reader") == "is shorter than 12 characters"


def test_the_secrets_that_are_made_are_accepted() -> None:
    for _again in range(50):
        assert all(weak_secrets.weak(secret) is None for secret in missing_secrets({}).values())


def test_a_short_password_that_somebody_else_chose_is_accepted(tmp_path: Path) -> None:
    given = COMPLETE | {"COUCHDB_PASSWORD": "k7Gq", "POSTGRES_PASSWORD": "k7Gq"}
    assert loaded(given, tmp_path, Environment.PROD).couchdb_password == "k7Gq"


def test_a_known_password_of_somebody_else_is_to_be_changed_there_first(tmp_path: Path) -> None:
    given = COMPLETE | {"COUCHDB_PASSWORD": "password", "POSTGRES_PASSWORD": "postgres"}
    assert problems(given, tmp_path, Environment.PROD) == (
        "COUCHDB_PASSWORD is a default or an example, which others know; change it in CouchDB, then here",
        "POSTGRES_PASSWORD is a default or an example, which others know; change it in PostgreSQL, then here",
    )


def test_a_test_couchdb_may_have_the_password_that_all_of_them_have(tmp_path: Path) -> None:
    given = COMPLETE | {"COUCHDB_PASSWORD": "password"}
    assert loaded(given, tmp_path, Environment.GAMMA).couchdb_password == "password"


def test_local_judges_no_secret(tmp_path: Path) -> None:
    given = {"POSTGRES_PASSWORD": "postgres", "COUCHDB_PASSWORD": "password", "SUPERSET_PASSWORD": "x"}
    assert loaded(given, tmp_path).postgres_password == "postgres"


def test_weak_secrets_are_told_together_with_everything_else(tmp_path: Path) -> None:
    given = COMPLETE | {"COUCHDB_PORT": "x", "PGRST_DB_PASSWORD": "short", "COUCHDB_HOST": "a.example.org"}
    found = problems({**given, "DBT_POSTGRES_PASSWORD": ""}, tmp_path, Environment.PROD)
    assert [line.split()[0].partition("=")[0] for line in found] == [
        "COUCHDB_PORT",
        "DBT_POSTGRES_PASSWORD",
        "PGRST_DB_PASSWORD",
        "COUCHDB_SECURE",
    ]


def test_a_service_that_runs_alone_is_judged_by_what_it_needs(tmp_path: Path) -> None:
    given = COMPLETE | {"SUPERSET_PASSWORD": "x", "COUCHDB_HOST": "a.example.org"}
    needs = ("POSTGRES_HOST", "DBT_POSTGRES_PASSWORD")
    assert load(Environment.PROD, home=tmp_path, environ=given, needs=needs).dbt_postgres_password == SECRET
    with pytest.raises(SettingsError, match="DBT_POSTGRES_PASSWORD is shorter"):
        load(
            Environment.PROD,
            home=tmp_path,
            environ={**given, "DBT_POSTGRES_PASSWORD": "k7Gq"},
            needs=needs,
        )


def test_what_an_environment_was_started_with_is_not_judged_again(tmp_path: Path) -> None:
    given = COMPLETE | {"SUPERSET_PASSWORD": "x", "COUCHDB_HOST": "a.example.org"}
    assert load(Environment.PROD, home=tmp_path, environ=given, accepted=True).superset_password == "x"


@pytest.mark.parametrize("environment", [Environment.GAMMA, Environment.PROD])
def test_a_login_in_the_clear_to_a_host_outside_needs_a_word(
    environment: Environment, tmp_path: Path
) -> None:
    given = COMPLETE | {"COUCHDB_HOST": "couchdb.example.org", "COUCHDB_SECURE": "false"}
    (problem,) = problems(given, tmp_path, environment)
    assert problem.startswith("COUCHDB_SECURE=false would send the password and every document in the clear ")
    assert "COUCHDB_ALLOW_PLAIN_HTTP=true" in problem
    for word in ("COUCHDB_SECURE", "COUCHDB_ALLOW_PLAIN_HTTP"):
        assert loaded(given | {word: "true"}, tmp_path, environment).couchdb_host == "couchdb.example.org"


def test_local_reads_where_it_is_told(tmp_path: Path) -> None:
    assert not loaded({"COUCHDB_HOST": "couchdb.example.org"}, tmp_path).couchdb_secure


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "[::1]", "10.1.2.3", "172.31.0.9", "192.168.1.1", "100.64.0.1",
     "169.254.1.1", "[fd00::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "couchdb", "couchdb.", "couchdb.local",
     "a.b.internal", "couch.home.arpa", "couchdb.cht.svc", "couchdb.cht.svc.cluster.local", "A.LAN"],
)  # fmt: skip
def test_what_stays_inside(host: str) -> None:
    assert not values.leaves_the_network(values.host(host))


@pytest.mark.parametrize(
    "host",
    ["couchdb.example.org", "8.8.8.8", "134744072", "0x8080808", "[2001:4860:4860::8888]",
     "[::ffff:8.8.8.8]", "172.32.0.1", "local.example.org", "notlocal.org.", "xlocal.de"],
)  # fmt: skip
def test_what_leaves_the_network(host: str) -> None:
    assert values.leaves_the_network(values.host(host))
