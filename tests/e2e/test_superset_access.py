"""Who may see what in Superset."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
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


def test_who_guesses_passwords_waits_at_the_api(with_superset: Installation) -> None:
    words = {"username": "admin", "password": "wrong", "provider": "db"}
    with somebody_elsewhere("127.0.0.9") as session:
        address = f"http://127.0.0.1:{with_superset.settings.superset_port}/api/v1/security/login"
        answers = Counter(session.post(address, json=words, timeout=60).status_code for _ in range(60))
    assert answers.keys() == {401, 429}
    assert answers[401] <= MOST_GUESSES


def test_who_guesses_passwords_waits_at_the_page(with_superset: Installation) -> None:
    address = f"http://127.0.0.1:{with_superset.settings.superset_port}/login/"
    with somebody_elsewhere("127.0.0.8") as session:
        token = re.search(
            r'csrf_token[^>]*value="([^"]+)"|csrf_token&#34;: &#34;([^&]+)&', session.get(address).text
        )
        assert token is not None
        words = {"username": "admin", "password": "wrong", "csrf_token": token[1] or token[2]}
        answers = Counter(
            session.post(address, data=words, timeout=60, allow_redirects=False).status_code
            for _ in range(60)
        )
    assert answers.keys() == {302, 429}
    assert answers[302] <= MOST_GUESSES


MOST_GUESSES = 10 * superset.WORKERS * 2
"""Ten a minute and process; a minute may begin in between."""


@contextmanager
def somebody_elsewhere(address: str) -> Iterator[requests.Session]:
    """A session from an address of its own: those of everybody else are not to wait for it."""

    class From(HTTPAdapter):
        def init_poolmanager(self, *given: Any, **options: Any) -> None:
            super().init_poolmanager(*given, **options, source_address=(address, 0))  # type: ignore[no-untyped-call]

    with requests.Session() as session:
        session.mount("http://", From())
        yield session


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


def test_queries_end_after_a_minute(analyst: Client) -> None:
    assert analyst.query("show statement_timeout").json()["data"] == [{"statement_timeout": "1min"}]


NO_RIGHT = "You need access to the following tables: "
NO_CHANGE = "This database does not allow for DDL/DML"
ONLY = "Only questions may be asked here: "
NO_ANSWER = f"{ONLY}this answers nothing"
TWO = "cannot insert multiple commands into a prepared statement"
READ_ONLY = "in a read-only transaction"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from v1.medic", f"{NO_RIGHT}`data.v1.medic`"),
        ("select * from v1.dead_letters", f"{NO_RIGHT}`data.v1.dead_letters`"),
        ("explain analyze select * from v1.medic", "permission denied for schema v1"),
        ("set search_path = v1; select * from medic", "not allowed to set a search path"),
        ("set role data_dbt; select * from v1.medic", f"{NO_RIGHT}`data.v1.medic`"),
        ("set role data_dbt; select 1", NO_ANSWER),
        ("select rolpassword from pg_authid", f"{NO_RIGHT}`data.pg_authid`"),
        ("delete from dbt.person", NO_CHANGE),
        ("create table dbt.mine (a int)", NO_CHANGE),
        ("select pg_read_file('/etc/passwd')", "disallowed"),
        ("alter role data_superset password 'x'", NO_ANSWER),
        ("commit; alter role data_superset password 'x'", NO_ANSWER),
        ("do $$ begin execute 'alter role data_superset reset all'; end $$", NO_CHANGE),
        ("set statement_timeout = 0; select 1", NO_ANSWER),
        ("reset all", NO_ANSWER),
        ("begin read write", NO_ANSWER),
        ("commit", NO_ANSWER),
        ("prepare q as select 1", NO_ANSWER),
        ("copy person to stdout", NO_ANSWER),
        ("select 1 into temp mine", NO_ANSWER),
        ("explain analyze alter role data_superset reset all", "syntax error"),
        ("explain (analyze) delete from dbt.person", "cannot execute DELETE in a read-only transaction"),
        ("select * from dbt.person for update", READ_ONLY),
        ("select nowhere from dbt.person", 'column \\"nowhere\\" does not exist'),
        ("select set_config('statement_timeout', '0', false)", f"{ONLY}set_config is refused"),
        ("select pg_catalog.\"set_config\"('role', 'none', false)", f"{ONLY}set_config is refused"),
        ('explain analyze select U&"set\\005fconfig"(1)', f'{ONLY}u&\\"'),
        ("select pg_try_advisory_lock(1)", f"{ONLY}pg_try_advisory_lock is refused"),
        ("select pg_cancel_backend(1)", f"{ONLY}pg_cancel_backend is refused"),
        ("explain analyze select pg_terminate_backend(1)", f"{ONLY}pg_terminate_backend is refused"),
        ("select pg_stat_get_backend_activity(1)", f"{ONLY}pg_stat_get_backend_activity is refused"),
        ("select pg_stat_get_activity(null)", f"{ONLY}pg_stat_get_activity is refused"),
        ("select lo_create(0)", f"{ONLY}lo_create is refused"),
        ("select cursor_to_xml('a', 1, true, true, '')", f"{ONLY}cursor_to_xml is refused"),
    ],
)
def test_an_analyst_reads_the_models_and_does_nothing_else(analyst: Client, query: str, said: str) -> None:
    answer = analyst.query(query)
    assert answer.status_code != 200, answer.text
    assert said in answer.text


ALTERED = (
    "commit; begin read write; alter role data_superset set work_mem to 8192; commit; select 1 as done --"
)


@pytest.mark.parametrize(
    "query",
    [
        # Superset hands EXPLAIN on as it is, and reads strings and comments in it otherwise than PostgreSQL.
        f"explain (costs off) select interval E'1'\n'\\' ' ; {ALTERED}'",
        f"explain (analyze /*) select $q$ */) select E'a'\n'\\' ' ; {ALTERED}' --$q$",
        f"explain select 1 ; {ALTERED}",
    ],
)
def test_one_statement_is_one_as_postgresql_reads_it(
    analyst: Client, with_superset: Installation, query: str
) -> None:
    answer = analyst.query(query)
    assert answer.status_code != 200, answer.text
    assert TWO in answer.text or NO_ANSWER in answer.text
    settings = with_superset.sql("select rolconfig from pg_roles where rolname = 'data_superset'")
    assert settings == [(None,)]


@pytest.mark.parametrize(
    "query",
    [
        "explain (analyze, costs off) select count(*) from dbt.person",
        "-- how many\nselect count(*) from dbt.person;",
        "select contact_type, count(*) from dbt.contact group by rollup (contact_type)",
        "select 'R u&''D' as said, name from dbt.person where name like '%a%' or name = 'u&'",
        "with known as (select uuid from dbt.person) select count(*) over (), uuid from known",
        "values (1), (2)",
        "show server_version",
    ],
)
def test_questions_of_all_kinds_are_answered(analyst: Client, query: str) -> None:
    answer = analyst.query(query)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("set_config('role', 'none', false)", f"{ONLY}set_config is refused"),
        ("pg_terminate_backend(0)", f"{ONLY}pg_terminate_backend is refused"),
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


def test_an_analyst_explores_rows_and_values(analyst: Client) -> None:
    dataset = analyst.find("dataset", "reports")["id"]
    values = analyst.ask("GET", f"datasource/table/{dataset}/column/form/values/")
    assert "pregnancy" in values.json()["result"], values.text


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
