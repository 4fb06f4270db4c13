"""What a trigger sees of a request, and what the client is told."""

from __future__ import annotations

import dataclasses
import http.client
import json
import time

import jwt
import pytest
from ingest_support import SECRET, Client, Installation, running, token, wait_until

MERGE = "resolution=merge-duplicates"
DOCS = "/docs?columns=_id,_rev,doc"


def doc(number: int, **fields: object) -> dict[str, object]:
    return {"_id": f"d{number}", "_rev": "1-a", "doc": {"n": number, **fields}}


def seen(installation: Installation) -> dict[str, str]:
    return {str(name): str(value) for name, value in installation.execute("SELECT name, value FROM v1.seen")}


def test_a_trigger_sees_the_request_as_postgrest_shows_it(server: Client, installation: Installation) -> None:
    answer = server.send("POST", DOCS, [doc(1)], headers={"X-Source": "host/db", "Prefer": MERGE})
    assert answer.status == 201
    settings = seen(installation)
    headers = json.loads(settings["request.headers"])
    assert headers["x-source"] == "host/db"
    assert headers["prefer"] == MERGE
    assert json.loads(settings["request.jwt.claims"]) == {"role": installation.ingest_role}
    assert settings["request.method"] == "POST"
    assert settings["request.path"] == "/docs"
    assert settings["search_path"] == '"v1", "public"'
    assert settings["application_name"] == "cht-sync ingest"


def test_a_trigger_sees_cookies_and_text_beyond_ascii(server: Client, installation: Installation) -> None:
    server.send(
        "POST",
        DOCS,
        [doc(1)],
        headers={"Cookie": "a=1; b=x=y", "X-Source": "Größe".encode().decode("latin-1")},
    )
    settings = seen(installation)
    assert json.loads(settings["request.cookies"]) == {"a": "1", "b": "x=y"}
    headers = json.loads(settings["request.headers"])
    assert "cookie" not in headers
    assert headers["x-source"] == "Größe"


def test_the_settings_of_the_role_are_in_force(server: Client, installation: Installation) -> None:
    server.post(DOCS, [doc(1)])
    assert seen(installation)["lock_timeout"] == "1234ms"


def test_nothing_of_a_request_is_left_for_the_next_one(server: Client, installation: Installation) -> None:
    server.post(DOCS, [doc(1)], X_Source="first")
    server.post(DOCS, [doc(2)])
    assert "x-source" not in json.loads(seen(installation)["request.headers"])
    assert server.send("GET", "/docs", headers={"Authorization": "Basic eDp5"}).status == 401


def test_a_form_is_one_row(server: Client, installation: Installation) -> None:
    answer = server.post("/docs", b"_id=a%20b&_rev=1-a", Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 201
    assert installation.execute("SELECT _id, _rev FROM v1.docs") == [("a b", "1-a")]


def test_filters_of_an_insert_have_no_effect(server: Client) -> None:
    answer = server.post(
        "/docs?_id=eq.x&limit=1&order=_id.desc&select=_id", [doc(1), doc(2)], Prefer="return=representation"
    )
    assert (answer.status, answer.json) == (201, [{"_id": "d2"}, {"_id": "d1"}])
    assert server.post("/docs?_id=x", [doc(3)]).code == "PGRST100"


def test_fields_of_what_was_written_can_be_chosen(server: Client) -> None:
    answer = server.post("/docs?select=n:doc->n,id:_id", doc(1), Prefer="return=representation")
    assert answer.json == [{"n": 1, "id": "d1"}]
    answer = server.post("/docs?select=nothing", doc(2), Prefer="return=representation")
    assert (answer.status, answer.code) == (400, "42703")


def test_a_request_with_two_faults_is_told_the_one_that_postgrest_sees_first(server: Client) -> None:
    assert server.send("FOO", "/nowhere").code == "PGRST117"
    assert server.get("/nowhere?limit=-1").code == "PGRST103"
    assert server.get("/nowhere?a=b").code == "PGRST100"
    assert server.post("/nowhere", b"no json").code == "PGRST102"
    assert server.post("/docs", {"nothing": 1}, Prefer="handling=strict,x=y").code == "PGRST204"
    assert server.post("/docs", doc(1), Prefer="handling=strict,x=y", Accept="a/b").code == "PGRST122"
    assert server.get("/docs", Prefer="handling=strict,x=y", Accept="a/b").code == "PGRST107"


def test_the_time_zone_of_a_request_can_be_chosen(server: Client, installation: Installation) -> None:
    installation.execute(
        "CREATE VIEW v1.clock AS SELECT timestamptz '2026-01-01 12:00+00' AS at;"
        f"GRANT SELECT ON v1.clock TO {installation.ingest_role}; NOTIFY pgrst, 'reload schema'"
    )
    wait_until(lambda: server.get("/clock").status == 200)
    answer = server.get("/clock", Prefer="timezone=Asia/Kathmandu")
    assert answer.json == [{"at": "2026-01-01T17:45:00+05:45"}]
    assert answer.headers["Preference-Applied"] == "timezone=Asia/Kathmandu"
    assert "Preference-Applied" not in server.get("/clock", Prefer="timezone=Nowhere").headers


def test_statement_triggers_run_for_an_empty_array(server: Client, installation: Installation) -> None:
    answer = server.post(DOCS, [], X_Seq="42", Prefer=MERGE)
    assert answer.status == 200
    assert json.loads(seen(installation)["request.headers"])["x-seq"] == "42"


def test_a_trigger_chooses_the_status_with_pt409(server: Client, installation: Installation) -> None:
    answer = server.post(DOCS, [doc(1)], X_Epoch="1")
    assert (answer.status, answer.code) == (409, "PT409")
    assert answer.json["details"] == "epoch 1 < 2"
    assert server.post(DOCS, [], X_Epoch="1").status == 409
    assert installation.execute("SELECT count(*) FROM v1.docs") == [(0,)]


def test_a_commit_that_fails_is_no_success(server: Client, installation: Installation) -> None:
    answer = server.post("/strict?columns=id,other", [{"id": 1, "other": 99}])
    assert (answer.status, answer.code) == (409, "23503")
    assert installation.execute("SELECT count(*) FROM v1.strict") == [(0,)]


def test_more_than_one_row_cannot_become_a_single_object(server: Client, installation: Installation) -> None:
    answer = server.post(
        "/docs",
        [doc(1), doc(2)],
        Prefer="return=representation",
        Accept="application/vnd.pgrst.object+json",
    )
    assert (answer.status, answer.code) == (406, "PGRST116")
    assert installation.execute("SELECT count(*) FROM v1.docs") == [(0,)]
    assert server.post(DOCS, [doc(1)]).status == 201


def test_hard_names_are_only_names(server: Client, installation: Installation) -> None:
    table = "/medic%2Fusers-%24(x)%25s"
    body = [{"_id": "1", "a%b": "50%s"}]
    assert server.post(f"{table}?columns=_id,%22a%25b%22", body, Prefer=MERGE).status == 201
    assert server.post(table, body[0], Prefer=f"{MERGE},missing=default").status == 200
    answer = server.get(f"{table}?select=_id,%22a%25b%22&%22a%25b%22=eq.50%25s")
    assert answer.json == body


def test_values_cannot_break_out_of_their_place(server: Client, installation: Installation) -> None:
    hostile = "x'); DROP TABLE v1.docs; -- \\' %s {} \" é \U0001f600"
    assert server.post(DOCS, [{"_id": hostile, "_rev": "1", "doc": {hostile: hostile}}]).status == 201
    assert installation.execute("SELECT _id, doc ->> _id FROM v1.docs") == [(hostile, hostile)]


@pytest.mark.parametrize("operator", ["eq", "in"])
def test_a_filter_value_is_only_a_value(server: Client, operator: str) -> None:
    server.post(DOCS, [doc(1)])
    value = "in.(%22d1%27%20OR%201=1%22,%22a%5C%22b%22)" if operator == "in" else "eq.d1%27%20OR%201=1"
    assert server.get(f"/docs?_id={value}").json == []


def test_the_saved_position_can_be_read(server: Client) -> None:
    server.post(DOCS, [{"_id": "couch.example/medic", "_rev": "7-x", "doc": {}}])
    answer = server.get("/docs?_id=eq.couch.example%2Fmedic&select=_rev,seq:_id")
    assert answer.json == [{"_rev": "7-x", "seq": "couch.example/medic"}]
    assert answer.headers["Content-Range"] == "0-0/*"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_id=neq.d1", ["d2", "d3"]),
        ("_id=not.eq.d1", ["d2", "d3"]),
        ("_id=not.in.(d1,d2)", ["d3"]),
        ("_id=in.()", []),
        ("_id=gte.d2&_id=lt.d3", ["d2"]),
        ("_rev=is.not_null&limit=1&offset=1", ["d2"]),
        ("_rev=is.null", []),
        ("_rev=not.is.null&order=_rev.desc.nullslast,_id.desc", ["d3", "d2", "d1"]),
    ],
)
def test_filters(server: Client, query: str, expected: list[str]) -> None:
    server.post(DOCS, [doc(1), doc(2), doc(3)])
    order = "" if "order" in query else "&order=_id"
    answer = server.get(f"/docs?select=_id&{query}{order}")
    assert [row["_id"] for row in answer.json] == expected


OUTSIDE = "outside the subset of PostgREST that this server speaks"


def test_a_quote_in_a_document_ends_nothing(server: Client, installation: Installation) -> None:
    hostile = "$$ $b$ $b0$ ''; \\ \\' %s \\0 -- $b" + "0" * 32 + "$"
    assert server.post(DOCS, [{"_id": hostile, "_rev": hostile, "doc": {hostile: hostile}}]).status == 201
    assert server.post("/docs", {"_id": "2" + hostile, "_rev": "1", "doc": {}}).status == 201
    assert installation.execute("SELECT _id, _rev, doc ->> _id FROM v1.docs WHERE _rev <> '1'") == [
        (hostile, hostile, hostile)
    ]


@pytest.mark.parametrize("query", ["select=other(*)", "select=...other(a)", "select=_id::t$x"])
def test_what_is_outside_the_subset_is_refused_in_words(server: Client, query: str) -> None:
    answer = server.get(f"/docs?{query}")
    assert (answer.status, answer.code) == (400, "PGRST100")
    assert OUTSIDE in answer.json["message"]


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_other_methods_are_refused(server: Client, method: str) -> None:
    answer = server.send(method, "/docs?_id=eq.d1", {} if method != "DELETE" else None)
    assert (answer.status, answer.code) == (405, "PGRST117")
    assert OUTSIDE in answer.json["details"]


def test_functions_are_refused(server: Client) -> None:
    answer = server.post("/rpc/note", {})
    assert (answer.status, answer.code) == (404, "PGRST202")
    assert "outside the subset" in answer.json["details"]


def test_csv_is_refused_in_words(server: Client) -> None:
    answer = server.post("/docs", b"_id\nd1\n", Content_Type="text/csv")
    assert (answer.status, answer.code) == (400, "PGRST102")
    assert OUTSIDE in answer.json["message"]
    answer = server.get("/docs", Accept="text/csv")
    assert (answer.status, answer.code) == (406, "PGRST107")
    assert OUTSIDE in answer.json["message"]


@pytest.mark.parametrize("levels", [900, 4_000])
def test_deep_nesting_is_stored(server: Client, installation: Installation, levels: int) -> None:
    nested = b'{"_id":"deep","doc":' + b"[" * levels + b"]" * levels + b"}"
    assert server.post("/docs", nested).status == 201
    assert server.post("/docs", b"[" + nested + b"]", Prefer=MERGE).status == 200


def test_nesting_that_postgres_refuses_is_told_by_its_code(server: Client) -> None:
    answer = server.post("/docs", b'{"_id":"deep","doc":' + b"[" * 20_000 + b"]" * 20_000 + b"}")
    assert (answer.status, answer.code) == (500, "54001")


def test_keys_of_deeply_nested_objects_must_match_too(server: Client) -> None:
    nested = b'{"_id":"1","doc":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
    assert server.post("/docs", b"[" + nested + b',{"_id":"2"}]').code == "PGRST102"


@pytest.mark.parametrize("body", [b'[{"_id":"a\xff"}]', b'[{"_id":"a\0b"}]'])
def test_bytes_that_are_no_text_are_refused(server: Client, installation: Installation, body: bytes) -> None:
    assert server.post("/docs", body).code == "PGRST102"
    assert server.post("/docs?columns=_id", body).code == "22021"
    assert installation.execute("SELECT count(*) FROM v1.docs") == [(0,)]


def test_a_new_table_is_known_after_a_notification(server: Client, installation: Installation) -> None:
    installation.execute(
        "CREATE TABLE v1.late (id int PRIMARY KEY);"
        f"GRANT SELECT, INSERT ON v1.late TO {installation.ingest_role}"
    )
    assert server.post("/late", {"id": 1}).code == "PGRST205"
    installation.execute("NOTIFY pgrst, 'reload schema'")
    wait_until(lambda: server.post("/late", {"id": 1}).status == 201)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("doc", "Perhaps you meant the table 'v1.docs'"),
        ("DOCS", "Perhaps you meant the table 'v1.docs'"),
        ("dcos", None),
        ("d" * 40_000, None),
    ],
)
def test_a_table_of_a_similar_name_is_suggested(server: Client, name: str, hint: str | None) -> None:
    assert server.get(f"/{name}").json["hint"] == hint


def test_tokens_are_checked(server: Client, installation: Installation) -> None:
    now = int(time.time())
    role = installation.ingest_role

    def code(bearer: str) -> str:
        return server.send("GET", "/docs", token=bearer).code

    assert server.send("GET", "/docs", token=token(role, exp=now - 20)).status == 200
    assert code(token(role, exp=now - 40)) == "PGRST303"
    assert code(token(role, iat=now + 3600)) == "PGRST303"
    assert code(token(role)[:-4] + "AAAA") == "PGRST301"
    assert code("a.b.c") == "PGRST301"
    assert code(token("nobody\0such")) == "22023"


def test_times_and_audiences_must_be_of_the_right_kind(server: Client, installation: Installation) -> None:
    now = int(time.time())

    def told(**claims: object) -> str | None:
        answer = server.send("GET", "/docs", token=token(installation.ingest_role, **claims))
        return None if answer.status == 200 else str(answer.json["message"])

    assert told(exp=float(now + 60), nbf=None, iat=now, aud=[]) is None
    assert told(aud="anything") is None
    assert told(exp=now + 60.5) == "JWT expired"
    assert told(exp="soon") == "The JWT 'exp' claim must be a number"
    assert told(nbf=True) == "The JWT 'nbf' claim must be a number"
    assert told(aud=5) == "The JWT 'aud' claim must be a string or an array of strings"
    assert told(aud=["a", 5]) == "The JWT 'aud' claim must be a string or an array of strings"
    assert told(nbf=now + 3600, exp=now - 3600) == "JWT expired"


@pytest.mark.parametrize(
    "bearer",
    [
        "abc.def.ghi",
        "quifquirndsjagnrgniur.fonvoienqhhdj.iuqvnvhojah",
        "eyJhbGciOiJXSEFUIn0.e30.AAAA",
        "e30.e30.AAAA",
        "W10.e30.AAAA",
    ],
)
def test_a_token_that_cannot_be_read_is_refused_as_postgrest_does(server: Client, bearer: str) -> None:
    answer = server.send("GET", "/docs", token=bearer)
    assert (answer.status, answer.code) == (401, "PGRST301")
    assert answer.json["message"] == "JWT cryptographic operation failed"


def test_a_role_that_is_no_text_is_taken_as_it_is_written(server: Client) -> None:
    bearer = jwt.encode({"role": 5}, SECRET, algorithm="HS256")
    answer = server.send("GET", "/docs", token=bearer)
    assert (answer.status, answer.code) == (401, "22023")
    assert answer.json["message"] == 'role "5" does not exist'


def test_the_audience_is_checked_where_one_is_configured(installation: Installation) -> None:
    with running(dataclasses.replace(installation.config, jwt_audience="ours")) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        role = installation.ingest_role
        assert client.send("GET", "/docs", token=token(role, aud=["theirs", "ours"])).status == 200
        assert client.send("GET", "/docs", token=token(role, aud="theirs")).code == "PGRST303"


def test_without_an_anonymous_role_a_token_is_demanded(installation: Installation) -> None:
    with running(dataclasses.replace(installation.config, anon_role=None)) as port:
        answer = Client(port).get("/")
        assert (answer.status, answer.code) == (401, "PGRST302")


def test_a_body_above_the_limit_is_refused_and_read_to_its_end(installation: Installation) -> None:
    with running(dataclasses.replace(installation.config, max_body=10_000)) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        answer = client.post(DOCS, [doc(1, text="x" * 2_000_000)])
        assert (answer.status, answer.code) == (413, "54000")
        assert client.post(DOCS, [doc(1)]).status == 201


def test_a_connection_is_kept_for_the_next_request(server: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Authorization": f"Bearer {server.token}"}
    for _ in range(3):
        connection.request("POST", DOCS, json.dumps([doc(1)]), {**headers, "Prefer": MERGE})
        response = connection.getresponse()
        assert response.read() == b""
        assert response.status in (200, 201)
        assert not response.will_close
    connection.close()
