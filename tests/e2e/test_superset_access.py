"""Who may see what in Superset."""

from __future__ import annotations

import secrets

import pytest
import requests
from superset_client import Client
from whole_installation import Installation

DASHBOARDS = {"Programme overview", "Data quality", "Sync health"}


@pytest.fixture(scope="module")
def analyst(with_superset: Installation) -> Client:
    """Somebody with the role Analyst and no other."""
    settings = with_superset.settings
    base, password = f"http://127.0.0.1:{settings.superset_port}", secrets.token_urlsafe(12)
    administrator = Client(base, "admin", settings.superset_password)
    roles = administrator.ask("GET", "security/roles/?q=(page_size:100)").json()["result"]
    (role,) = (one["id"] for one in roles if one["name"] == "Analyst")
    made = administrator.ask(
        "POST",
        "security/users/",
        json={
            "username": "ana",
            "first_name": "Ana",
            "last_name": "Lyst",
            "email": "ana@example.org",
            "active": True,
            "password": password,
            "roles": [role],
            "groups": [],
        },
    )
    assert made.status_code in (200, 201), made.text
    return Client(base, "ana", password)


def test_a_wrong_password_is_refused(administrator: Client) -> None:
    administrator.password = "wrong"
    assert administrator.sign_in().status_code == 401


def test_who_has_not_signed_in_sees_nothing(with_superset: Installation) -> None:
    base = f"http://127.0.0.1:{with_superset.settings.superset_port}"
    for path in ("dashboard/", "chart/", "dataset/", "database/", "security/users/"):
        answer = requests.get(f"{base}/api/v1/{path}", timeout=60)
        assert answer.status_code in (401, 403) or answer.json()["result"] == [], path
    page = requests.get(f"{base}/superset/dashboard/programme-overview/", timeout=60, allow_redirects=False)
    assert page.status_code in (302, 401, 403)
    assert "Programme overview" not in page.text


def test_an_analyst_sees_the_dashboards(analyst: Client) -> None:
    shown = analyst.ask("GET", "dashboard/").json()["result"]
    assert {one["dashboard_title"] for one in shown} == DASHBOARDS


def test_an_analyst_asks_the_models_in_sql_lab(analyst: Client) -> None:
    answer = analyst.query("select count(*) as persons from dbt.person")
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["persons"] > 0


@pytest.mark.parametrize(
    "query",
    [
        "select * from v1.medic",
        "select * from v1.dead_letters",
        "set search_path = v1; select * from medic",
        "set role data_dbt; select * from v1.medic",
        "select rolpassword from pg_authid",
        "delete from dbt.person",
        "create table dbt.mine (a int)",
        "select pg_read_file('/etc/passwd')",
    ],
)
def test_an_analyst_reaches_nothing_but_the_models(analyst: Client, query: str) -> None:
    answer = analyst.query(query)
    assert answer.status_code != 200, answer.text


def test_an_analyst_administers_nothing(analyst: Client) -> None:
    assert analyst.ask("GET", "security/users/").status_code in (403, 404)
    (database,) = analyst.ask("GET", "database/").json()["result"]
    assert analyst.ask("PUT", f"database/{database['id']}", json={"expose_in_sqllab": False}).status_code in (
        403,
        404,
    )


def test_passwords_are_in_no_answer(administrator: Client, with_superset: Installation) -> None:
    settings = with_superset.settings
    (database,) = administrator.ask("GET", "database/").json()["result"]
    shown = administrator.ask("GET", f"database/{database['id']}/connection").text
    assert settings.superset_db_password not in shown
    log = (with_superset.home / ".cht-sync" / "logs" / "superset.log").read_text()
    for secret in (settings.superset_db_password, settings.superset_password, settings.superset_secret_key):
        assert secret not in log
