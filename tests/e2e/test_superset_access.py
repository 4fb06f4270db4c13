"""Who may see what in Superset."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection

import pytest
import requests
from superset_client import CHROMIUM, Client, browser_of, number_on, open_dashboard
from whole_installation import Installation

from cht_sync.runtime import superset

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


def test_who_guesses_passwords_waits(with_superset: Installation) -> None:
    # From an address of its own: those of everybody else are not to wait for it.
    words = json.dumps({"username": "admin", "password": "wrong", "provider": "db"})
    answers: Counter[int] = Counter()
    for _ in range(60):
        with closing(
            HTTPConnection("127.0.0.1", with_superset.settings.superset_port, source_address=("127.0.0.9", 0))
        ) as connection:
            connection.request(
                "POST", "/api/v1/security/login", words, headers={"Content-Type": "application/json"}
            )
            answers[connection.getresponse().status] += 1
    assert answers.keys() == {401, 429}
    assert answers[401] <= 10 * superset.WORKERS * 2, (
        "ten a minute and process; a minute may begin in between"
    )


def test_who_has_not_signed_in_sees_nothing(with_superset: Installation, administrator: Client) -> None:
    base = f"http://127.0.0.1:{with_superset.settings.superset_port}"
    described = administrator.ask("GET", "_openapi").json()["paths"]
    paths = [re.sub(r"{[^}]*}", "1", path) for path, methods in described.items() if "get" in methods]
    assert len(paths) > 100
    shown = [
        path for path in paths if not _refused(requests.get(base + path, timeout=60, allow_redirects=False))
    ]
    # A page that says only that a code is lacking, and no picture.
    assert set(shown) <= {"/api/v1/database/oauth2/", "/api/v1/user/1/avatar.png"}
    page = requests.get(f"{base}/superset/dashboard/programme-overview/", timeout=60, allow_redirects=False)
    assert _refused(page)
    assert "Programme overview" not in page.text


def _refused(answer: requests.Response) -> bool:
    return answer.status_code in (401, 403, 404) or "/login/" in answer.headers.get("Location", "")


def test_an_analyst_sees_the_dashboards(analyst: Client) -> None:
    shown = analyst.ask("GET", "dashboard/").json()["result"]
    assert {one["dashboard_title"] for one in shown} == DASHBOARDS


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium (apt-get install chromium)")
def test_an_analyst_opens_a_dashboard_in_the_browser(analyst: Client) -> None:
    with browser_of(analyst.base, analyst.user, analyst.password) as page:
        assert "Reports" in open_dashboard(page, analyst.base, "programme-overview")
        assert number_on(page, "Reports") > 0
        assert page.locator(".ant-alert-error, [role=alert]").count() == 0


def test_an_analyst_asks_the_models_in_sql_lab(analyst: Client) -> None:
    answer = analyst.query("select count(*) as persons from dbt.person")
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["persons"] > 0


def test_an_analyst_asks_how_a_query_is_run(analyst: Client) -> None:
    answer = analyst.query("explain (analyze, costs off) select count(*) from person")
    assert answer.status_code == 200, answer.text
    assert "Aggregate" in answer.text


def test_queries_end_after_a_minute(analyst: Client) -> None:
    assert analyst.query("show statement_timeout").json()["data"] == [{"statement_timeout": "1min"}]


NO_RIGHT = "You need access to the following tables: "
NO_CHANGE = "This database does not allow for DDL/DML"
REFUSED = " is refused. Only questions may be asked here, one at a time."


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from v1.medic", f"{NO_RIGHT}`data.v1.medic`"),
        ("select * from v1.dead_letters", f"{NO_RIGHT}`data.v1.dead_letters`"),
        ("set search_path = v1; select * from medic", "not allowed to set a search path"),
        ("set role data_dbt; select * from v1.medic", f"{NO_RIGHT}`data.v1.medic`"),
        ("set role data_dbt; select 1", f"SET{REFUSED}"),
        ("select rolpassword from pg_authid", f"{NO_RIGHT}`data.pg_authid`"),
        ("delete from dbt.person", NO_CHANGE),
        ("create table dbt.mine (a int)", NO_CHANGE),
        ("select pg_read_file('/etc/passwd')", "disallowed"),
        ("alter role data_superset password 'x'", f"ALTER{REFUSED}"),
        ("commit; alter role data_superset password 'x'", f"COMMIT{REFUSED}"),
        ("do $$ begin execute 'alter role data_superset reset all'; end $$", NO_CHANGE),
        ("set statement_timeout = 0; select 1", f"SET{REFUSED}"),
        ("reset all", f"RESET{REFUSED}"),
        ("begin read write", f"BEGIN{REFUSED}"),
        ("commit", f"COMMIT{REFUSED}"),
        ("prepare q as select 1", f"PREPARE{REFUSED}"),
        ("copy person to stdout", f"COPY{REFUSED}"),
        ("explain analyze alter role data_superset reset all", f"EXPLAIN{REFUSED}"),
        ("select * from dbt.person for update", f"LOCK{REFUSED}"),
        ("select 1 into temp mine", f"INTO{REFUSED}"),
        ("select set_config('statement_timeout', '0', false)", f"The function set_config{REFUSED}"),
        ("select pg_catalog.\"set_config\"('role', 'none', false)", f"The function set_config{REFUSED}"),
        ("select pg_try_advisory_lock(1)", f"The function pg_try_advisory_lock{REFUSED}"),
        ("select pg_cancel_backend(1)", f"The function pg_cancel_backend{REFUSED}"),
        ("select lo_create(0)", f"The function lo_create{REFUSED}"),
        ("select cursor_to_xml('a', 1, true, true, '')", f"The function cursor_to_xml{REFUSED}"),
    ],
)
def test_an_analyst_reads_the_models_and_does_nothing_else(analyst: Client, query: str, said: str) -> None:
    answer = analyst.query(query)
    assert answer.status_code != 200, answer.text
    assert said in answer.text


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("set_config('role', 'none', false)", f"The function set_config{REFUSED}"),
        ("1; alter role data_superset reset all", "should have exactly one statement"),
    ],
)
def test_a_chart_asks_questions_only_too(analyst: Client, metric: str, said: str) -> None:
    dataset = analyst.find("dataset", "people")
    own = {"expressionType": "SQL", "sqlExpression": metric, "label": "mine"}
    question = {
        "datasource": {"id": dataset["id"], "type": "table"},
        "queries": [{"metrics": [own], "columns": []}],
        "result_format": "json",
        "result_type": "full",
    }
    answer = analyst.ask("POST", "chart/data", json=question)
    assert answer.status_code in (400, 422), answer.text
    assert said in answer.text


def test_the_transactions_of_dashboards_are_read_only(analyst: Client) -> None:
    assert analyst.query("show transaction_read_only").json()["data"] == [{"transaction_read_only": "on"}]


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
