"""The CouchDB-protocol server answers as CouchDB does where a replicator looks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from couchdb_fixture import CouchDBProcess, CouchDBServer
from waiting import eventually


@pytest.fixture
def http(couchdb_server: CouchDBServer, couchdb_database: str) -> Iterator[Http]:
    with requests.Session() as session:
        session.auth = (couchdb_server.user, couchdb_server.password)
        yield Http(session, f"{couchdb_server.url}/{couchdb_database}")


class Http:
    """Requests below one database."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self.session = session
        self.url = url

    def put(self, name: str, **document: object) -> str:
        response = self.session.put(f"{self.url}/{name}", json=document)
        assert response.status_code == 201
        return str(response.json()["rev"])

    def changes(self, query: str = "") -> requests.Response:
        return self.session.get(f"{self.url}/_changes?{query}")

    def live(self, query: str = "") -> Iterator[str]:
        """The lines of a continuous feed, blank ones included."""
        response = self.session.get(f"{self.url}/_changes?feed=continuous&{query}", stream=True)
        assert response.status_code == 200
        buffer = b""
        for chunk in response.iter_content(chunk_size=None):
            *lines, buffer = (buffer + chunk).split(b"\n")
            yield from (line.decode() for line in lines)


def rows(lines: Iterator[str], count: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in (next(line for line in lines if line) for _ in range(count))]


def test_up_needs_no_login(couchdb_server: CouchDBServer) -> None:
    assert requests.get(f"{couchdb_server.url}/_up").json()["status"] == "ok"


def test_a_wrong_login_is_refused_in_couchdbs_words(couchdb_server: CouchDBServer) -> None:
    for user, password in [(couchdb_server.user, "wrong"), ("nobody", couchdb_server.password), ("", "")]:
        response = requests.get(f"{couchdb_server.url}/_all_dbs", auth=(user, password))
        assert response.status_code == 401
        assert response.json() == {"error": "unauthorized", "reason": "Name or password is incorrect."}
        assert response.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic ???", "Bearer abc"])
def test_no_login_is_refused(couchdb_server: CouchDBServer, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = requests.get(f"{couchdb_server.url}/_all_dbs", headers=headers)
    assert (response.status_code, response.json()["error"]) == (401, "unauthorized")


def test_a_database_cannot_be_made_twice(http: Http) -> None:
    response = http.session.put(http.url)
    assert (response.status_code, response.json()["error"]) == (412, "file_exists")


@pytest.mark.parametrize("name", ["Upper", "a%2Fb", "_other", "1st", "..", "%2e%2e%2fout"])
def test_a_name_that_the_file_system_would_bend_is_refused(couchdb_server: CouchDBServer, name: str) -> None:
    auth = (couchdb_server.user, couchdb_server.password)
    assert requests.put(f"{couchdb_server.url}/{name}", auth=auth).status_code in {400, 404, 405, 412}
    assert name not in requests.get(f"{couchdb_server.url}/_all_dbs", auth=auth).json()


def test_a_document_sent_by_curl_without_a_type_is_json(http: Http) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    http.session.put(f"{http.url}/by-hand", data='{"name": "Ada"}', headers=form)
    assert http.session.get(f"{http.url}/by-hand").json()["name"] == "Ada"


def test_the_normal_feed_has_one_row_a_line_and_pages_go_on(http: Http) -> None:
    revisions = [http.put(f"d{number}", n=number) for number in range(5)]
    text = http.changes("include_docs=true&limit=2").text
    assert [line[:6] for line in text.splitlines()[:4]] == ['{"resu', '{"seq"', '{"seq"', "],"]
    first = json.loads(text)
    rest = http.changes(f"include_docs=true&since={first['last_seq']}").json()
    found = first["results"] + rest["results"]
    assert [row["id"] for row in found] == [f"d{number}" for number in range(5)]
    assert [row["changes"] for row in found] == [[{"rev": revision}] for revision in revisions]
    assert [row["doc"]["n"] for row in found] == list(range(5))
    assert (first["pending"], rest["pending"]) == (3, 0)


def test_more_rows_than_one_page_of_the_server_arrive_once_each(http: Http) -> None:
    documents = [{"_id": f"{number:04}"} for number in range(1001)]
    http.session.post(f"{http.url}/_bulk_docs", json={"docs": documents})
    ids = [row["id"] for row in http.changes().json()["results"]]
    assert ids == [document["_id"] for document in documents]
    assert len(http.changes("limit=400").json()["results"]) == 400


def test_the_feed_shows_the_last_change_of_a_document_and_its_deletion(http: Http) -> None:
    first = http.put("a", n=1)
    second = http.put("a", n=2, _rev=first)
    assert [row["changes"][0]["rev"] for row in http.changes().json()["results"]] == [second]
    http.session.delete(f"{http.url}/a?rev={second}")
    (row,) = http.changes("include_docs=true").json()["results"]
    assert row["deleted"] is True
    assert row["doc"]["_deleted"] is True


def test_no_rows_are_asked_for_and_none_come(http: Http) -> None:
    http.put("a")
    assert http.changes("limit=0").json() == {"results": [], "last_seq": 0, "pending": 1}
    assert http.changes("since=now").json()["results"] == []


@pytest.mark.parametrize("query", ["since=x", "since=-1", "limit=x", "feed=x", "heartbeat=0", "filter=a/b"])
def test_a_query_that_cannot_be_answered_is_a_bad_request(http: Http, query: str) -> None:
    response = http.changes(query)
    assert (response.status_code, response.json()["error"]) == (400, "bad_request")


def test_the_feed_of_a_missing_database_is_not_found(couchdb_server: CouchDBServer, http: Http) -> None:
    response = http.session.get(f"{couchdb_server.url}/none/_changes?feed=continuous")
    assert (response.status_code, response.json()["error"]) == (404, "not_found")


def test_a_continuous_feed_begins_with_what_is_there_and_goes_on(http: Http) -> None:
    http.put("before", n=1)
    lines = http.live("include_docs=true&heartbeat=60000")
    assert [row["id"] for row in rows(lines, 1)] == ["before"]
    http.put("after", n=2)
    (row,) = rows(lines, 1)
    assert (row["id"], row["seq"]) == ("after", 2)


def test_heartbeats_are_blank_lines(http: Http) -> None:
    lines = http.live("since=now&heartbeat=20")
    assert [next(lines) for _ in range(5)] == [""] * 5


def test_every_change_of_a_busy_database_reaches_a_live_feed_once(http: Http) -> None:
    lines = http.live("heartbeat=60000")
    next(lines)
    for batch in range(5):
        documents = [{"_id": f"{batch}-{number}"} for number in range(300)]
        http.session.post(f"{http.url}/_bulk_docs", json={"docs": documents})
    found = [row["id"] for row in rows(lines, 1500)]
    assert len(set(found)) == 1500


def test_a_feed_with_a_limit_ends_with_the_place_to_go_on(http: Http) -> None:
    for name in "abc":
        http.put(name)
    *found, end = [json.loads(line) for line in http.live("limit=2") if line]
    assert [row["id"] for row in found] == ["a", "b"]
    assert end == {"last_seq": 2, "pending": 1}


def test_a_feed_without_heartbeat_ends_after_its_timeout(http: Http) -> None:
    assert [line for line in http.live("since=now&timeout=50") if line] == ['{"last_seq":0,"pending":0}']


def test_a_live_feed_ends_cleanly_when_its_database_is_deleted(http: Http) -> None:
    lines = http.live("since=now&heartbeat=60000")
    next(lines)
    http.session.delete(http.url)
    assert [line for line in lines if line] == ['{"last_seq":0,"pending":0}']


def test_longpoll_answers_at_once_with_a_backlog_and_waits_without(http: Http) -> None:
    http.put("a")
    assert [row["id"] for row in http.changes("feed=longpoll").json()["results"]] == ["a"]
    assert http.changes("feed=longpoll&since=now&timeout=20").json()["results"] == []
    answers: list[requests.Response] = []
    response = http.session.get(f"{http.url}/_changes?feed=longpoll&since=1&heartbeat=60000", stream=True)
    reader = threading.Thread(target=lambda: answers.append(response.json()), daemon=True)
    reader.start()
    http.put("b")
    reader.join()
    assert answers[0]["results"][0]["id"] == "b"


def test_a_longpoll_whose_time_runs_out_at_once_is_a_whole_page(http: Http) -> None:
    for _ in range(5):
        assert http.changes("feed=longpoll&timeout=0&since=now").json()["results"] == []


@pytest.mark.parametrize("feed", ["longpoll", "continuous"])
def test_a_feed_that_ends_while_rows_are_read_says_no_later_place_than_its_last_row(
    http: Http, feed: str
) -> None:
    """Else whoever goes on from that place never hears of what is between."""
    ids = [f"{number:04}" for number in range(150)]
    with requests.Session() as session:
        session.auth = http.session.auth

        def write() -> None:
            for id in ids:
                assert session.put(f"{http.url}/{id}", json={}).status_code == 201

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        found: list[str] = []
        since = 0
        while since < len(ids):
            answer = http.changes(f"feed={feed}&timeout=5&since={since}")
            if feed == "longpoll":
                page = answer.json()
                new, since = page["results"], page["last_seq"]
            else:
                *new, end = [json.loads(line) for line in answer.text.splitlines() if line]
                since = end["last_seq"]
            found += [row["id"] for row in new]
        writer.join()
    assert found == ids


def test_many_feeds_come_and_go_and_the_server_stays_silent(
    http: Http, couchdb_server: CouchDBServer
) -> None:
    for _ in range(30):
        lines = http.live("since=now&heartbeat=60000")
        next(lines)
    http.put("a")
    assert [line for line in couchdb_server.node.log.splitlines() if "CouchDB protocol" not in line] == []


def test_a_recreated_database_has_another_birth_but_not_after_a_restart(tmp_path: Path) -> None:
    node = CouchDBProcess(tmp_path, user="medic", password="secret")
    auth = ("medic", "secret")
    node.start()
    url = f"http://127.0.0.1:{node.port}/medic"
    requests.put(url, auth=auth)
    requests.put(f"{url}/a", json={"n": 1}, auth=auth)
    before = requests.get(url, auth=auth).json()
    assert int(before["instance_start_time"]) > 1_700_000_000
    feed = requests.get(f"{url}/_changes?feed=continuous&heartbeat=60000", auth=auth, stream=True)
    lines = feed.iter_lines()
    assert b'"id":"a"' in next(line for line in lines if line)
    assert node.stop() == 0
    assert b'"last_seq":1' in b"".join(lines)
    node.start()
    try:
        assert requests.get(url, auth=auth).json() == before
        assert requests.get(f"{url}/a", auth=auth).json()["n"] == 1
        assert before | {"doc_count": 1, "update_seq": 1, "db_name": "medic"} == before
    finally:
        node.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "couchdb.log"}


def test_the_server_has_one_uuid_for_ever_and_another_server_another(tmp_path: Path) -> None:
    uuids = []
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        node = CouchDBProcess(tmp_path / folder, user="medic", password="secret")
        node.start()
        try:
            welcome = requests.get(f"http://127.0.0.1:{node.port}/", auth=("medic", "secret")).json()
            databases = requests.get(
                f"http://127.0.0.1:{node.port}/_all_dbs", auth=("medic", "secret")
            ).json()
        finally:
            node.stop()
        assert (welcome["couchdb"], welcome["vendor"]["name"], databases) == ("Welcome", "cht-sync", [])
        uuids.append(welcome["uuid"])
    assert len(uuids[0]) == 32
    assert uuids[0] == uuids[1] != uuids[2]


def test_a_database_made_anew_has_another_birth_however_soon(http: Http) -> None:
    births = [http.session.get(http.url).json()["instance_start_time"]]
    for _ in range(3):
        http.session.delete(http.url)
        http.session.put(http.url)
        births.append(http.session.get(http.url).json()["instance_start_time"])
    assert len(set(births)) == 4


# Logins by cookie, as CouchDB 3.4 was recorded to answer.


def cookie_of(response: requests.Response) -> str:
    value, *attributes = response.headers["Set-Cookie"].split("; ")
    names = [attribute.partition("=")[0] for attribute in attributes]
    assert names == ["Version", "Expires", "Max-Age", "Path", "HttpOnly"]
    return value.removeprefix("AuthSession=")


@pytest.mark.parametrize("form", ["json", "data"])
@pytest.mark.parametrize("name", ["name", "username"])
def test_a_login_is_exchanged_for_a_cookie_that_takes_its_place(
    couchdb_server: CouchDBServer, form: str, name: str
) -> None:
    login = {name: couchdb_server.user, "password": couchdb_server.password}
    response = requests.post(f"{couchdb_server.url}/_session", **{form: login})  # type: ignore[arg-type]
    assert response.json() == {"ok": True, "name": couchdb_server.user, "roles": ["_admin"]}
    headers = {"Cookie": f"AuthSession={cookie_of(response)}"}
    assert requests.get(f"{couchdb_server.url}/_all_dbs", headers=headers).status_code == 200
    who = requests.get(f"{couchdb_server.url}/_session", headers=headers).json()
    assert who["userCtx"] == {"name": couchdb_server.user, "roles": ["_admin"]}
    assert who["info"] == {"authentication_handlers": ["cookie", "default"], "authenticated": "cookie"}


def test_a_wrong_login_gets_no_cookie(couchdb_server: CouchDBServer) -> None:
    login = {"name": couchdb_server.user, "password": "wrong"}
    response = requests.post(f"{couchdb_server.url}/_session", json=login)
    assert response.status_code == 401
    assert response.json() == {"error": "unauthorized", "reason": "Name or password is incorrect."}
    assert cookie_of(response) == ""
    nobody = requests.post(f"{couchdb_server.url}/_session", json={})
    assert nobody.json() == {"error": "bad_request", "reason": "request body must contain a username"}


def test_only_a_cookie_of_this_server_counts(couchdb_server: CouchDBServer) -> None:
    login = {"name": couchdb_server.user, "password": couchdb_server.password}
    good = cookie_of(requests.post(f"{couchdb_server.url}/_session", json=login))

    def asked(cookie: str) -> tuple[int, str]:
        headers = {"Cookie": f"AuthSession={cookie}"}
        response = requests.get(f"{couchdb_server.url}/_all_dbs", headers=headers)
        return response.status_code, response.json().get("reason", "")

    refused = (401, "You are not authorized to access this db.")
    assert asked(f"{good[:-4]}{'AAAA' if good[-4:] != 'AAAA' else 'BBBB'}") == refused
    assert asked("") == refused
    assert asked("garbage") == (400, "Malformed AuthSession cookie. Please clear your cookies.")


def test_who_is_asked_of_a_session_that_is_none_is_nobody(couchdb_server: CouchDBServer) -> None:
    who = requests.get(f"{couchdb_server.url}/_session").json()
    assert who["userCtx"] == {"name": None, "roles": []}
    assert requests.get(f"{couchdb_server.url}/_session", auth=("x", "y")).status_code == 401
    out = requests.delete(f"{couchdb_server.url}/_session")
    assert (out.json(), cookie_of(out)) == ({"ok": True}, "")


def test_a_cookie_is_renewed_while_it_is_used_and_ends(tmp_path: Path) -> None:
    node = CouchDBProcess(tmp_path, user="medic", password="secret", session_timeout=2)
    node.start()
    url = f"http://127.0.0.1:{node.port}"
    try:
        login = {"name": "medic", "password": "secret"}
        headers = {
            "Cookie": f"AuthSession={cookie_of(requests.post(f'{url}/_session', json=login))}",
            "Connection": "close",
        }
        renewed: list[str] = []

        def has_ended() -> bool:
            response = requests.get(f"{url}/_all_dbs", headers=headers)
            if "Set-Cookie" in response.headers:
                renewed.append(cookie_of(response))
            return response.status_code == 401

        eventually(has_ended)
        assert all(renewed)
        assert len(renewed) > 0
    finally:
        node.stop()


# Selectors.


def selected(http: Http, selector: object, query: str = "") -> requests.Response:
    return http.session.post(f"{http.url}/_changes?filter=_selector&{query}", json={"selector": selector})


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ({}, "abcd"),
        ({"type": "x"}, "ac"),
        ({"type": "x", "n": {"$gt": 1}}, "c"),
        ({"type": "x", "$and": [{"n": {"$gte": 1}}, {"n": {"$lt": 3}}]}, "a"),
        ({"$or": [{"n": 1}, {"n": 2}]}, "ab"),
        ({"$not": {"type": "x"}}, "bd"),
        ({"type": {"$in": ["x", "z"]}}, "acd"),
        ({"in.side": "y"}, "b"),
        ({"in": {"side": "y"}}, "b"),
        ({"list": {"$elemMatch": {"$eq": 2}}}, "d"),
        ({"_id": {"$regex": "^[ab]"}}, "ab"),
        ({"_deleted": True}, "c"),
    ],
)
def test_a_selector_lets_through_what_matches(http: Http, selector: object, found: str) -> None:
    http.put("a", type="x", n=1)
    http.put("b", type="y", n=2, **{"in": {"side": "y"}})
    revision = http.put("c", type="x", n=3)
    http.put("d", type="z", list=[1, 2])
    http.put("c", type="x", n=3, _rev=revision, _deleted=True)
    answer = selected(http, selector).json()
    assert sorted(row["id"] for row in answer["results"]) == list(found)
    assert (answer["last_seq"], answer["pending"]) == (5, 0)
    assert all("doc" not in row for row in answer["results"])


def test_pages_of_a_selector_go_on_after_the_last_match(http: Http) -> None:
    documents = [{"_id": f"{number:04}", "even": number % 2 == 0} for number in range(1001)]
    http.session.post(f"{http.url}/_bulk_docs", json={"docs": documents})
    since, found = 0, []
    while True:
        page = selected(http, {"even": True}, f"limit=150&since={since}&include_docs=true").json()
        found += [row["doc"]["_id"] for row in page["results"]]
        since = page["last_seq"]
        if len(page["results"]) < 150:
            break
    assert found == [document["_id"] for document in documents if document["even"]]
    assert since == 1001


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{}", "Selector must be specified in POST payload"),
        ('{"selector":[]}', "Selector error: expected a JSON object"),
        ('{"selector":{"$no":1}}', "Invalid operator: $no"),
        ('{"selector":{"a":{"$or":[{"b":{"$no":1}}]}}}', "Invalid operator: $no"),
        ('{"selector":{"a":{"$mod":1}}}', "Bad argument for operator $mod: 1"),
        ('{"selector":{"a":{"$regex":"["}}}', 'Bad argument for operator $regex: "["'),
        ('{"selector":', "invalid UTF-8 JSON"),
    ],
)
def test_a_selector_that_is_none_is_refused(http: Http, body: str, reason: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = http.session.post(f"{http.url}/_changes?filter=_selector", data=body, headers=headers)
    assert (response.status_code, response.json()["error"]) == (400, "bad_request")
    assert response.json()["reason"].startswith(reason)


def test_changes_may_be_asked_for_by_post_without_a_filter(http: Http) -> None:
    http.put("a")
    for body in ("{}", ""):
        headers = {"Content-Type": "application/json"}
        answer = http.session.post(f"{http.url}/_changes", data=body, headers=headers).json()
        assert [row["id"] for row in answer["results"]] == ["a"]


def test_without_its_settings_the_server_says_what_is_missing(tmp_path: Path) -> None:
    node = CouchDBProcess(tmp_path, user="", password="")
    with pytest.raises(AssertionError, match=r"COUCHDB_USER: must be set\n\s*COUCHDB_PASSWORD: must be set"):
        node.start()
