"""The CouchDB-protocol server answers as CouchDB does where a replicator looks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from couchdb_fixture import CouchDBProcess, CouchDBServer


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
    assert node.stop() == 0
    assert b'"last_seq":1' in feed.content
    node.start()
    try:
        assert requests.get(url, auth=auth).json() == before
        assert requests.get(f"{url}/a", auth=auth).json()["n"] == 1
        assert before | {"doc_count": 1, "update_seq": 1, "db_name": "medic"} == before
    finally:
        node.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "couchdb.log"}


def test_without_its_settings_the_server_says_what_is_missing(tmp_path: Path) -> None:
    node = CouchDBProcess(tmp_path, user="", password="")
    with pytest.raises(AssertionError, match=r"COUCHDB_USER: must be set\n\s*COUCHDB_PASSWORD: must be set"):
        node.start()
