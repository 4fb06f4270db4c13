"""What a GET finds, shows and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from ingest_support import Client, Installation, installed, running, wait_until

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "a*b", "_rev": "1-a", "doc": {"type": "person", "age": 7, "tags": ["x", "y"]}},
    {"_id": "a,b", "_rev": "2-b", "doc": {"type": "clinic", "age": 70, "tags": [], "deep": {"k": None}}},
    {"_id": 'a"b\\c', "_rev": None, "doc": {"type": "person", "name": "Über Alles"}},
]


@pytest.fixture(scope="module")
def filled(postgres_server: Any) -> Iterator[Client]:
    with installed(postgres_server) as installation, running(installation.config) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        assert client.post("/docs", DOCUMENTS).status == 201
        yield client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_id=eq.a*b", [0]),
        ("_id=neq.a*b", [1, 2]),
        ("_id=like.a,*", [1]),
        ("_id=ilike.A%22*", [2]),
        ("_id=match.^a[,*]", [0, 1]),
        ("_rev=imatch.A$", [0]),
        ("_id=in.(%22a,b%22,%22a%5C%22b%5C%5Cc%22)", [1, 2]),
        ("_id=not.in.(%22a,b%22)", [0, 2]),
        ("_id=in.()", []),
        ("_id=eq(any).{a*b,nothing}", [0]),
        ("_id=like(all).{a*,*b}", [0, 1]),
        ("_rev=is.null", [2]),
        ("_rev=not.is.null", [0, 1]),
        ("_rev=is.not_null", [0, 1]),
        ("_rev=isdistinct.1-a", [1, 2]),
        ("doc->>type=eq.person", [0, 2]),
        ("doc->age=gt.8", [1]),
        ("doc->tags->>1=eq.y", [0]),
        ("doc->tags->>-1=eq.y", [0]),
        ("doc->deep->>k=is.null", [0, 1, 2]),
        ('doc=cs.{"type":"clinic"}', [1]),
        ("doc->>name=fts.alles", [2]),
        ("doc->>name=plfts(german).Über", [2]),
        ("or=(_id.eq.a*b,doc->>type.eq.clinic)", [0, 1]),
        ("or=(_id.eq.%22a,b%22,and(_rev.is.null,doc->>type.eq.person))", [1, 2]),
        ("not.or=(_rev.is.null,_rev.eq.1-a)", [1]),
        ("and=(_rev.not.is.null,or(doc->>type.eq.person,_id.eq.x))", [0]),
        ("_id=gte.a&_rev=lt.2", [0]),
    ],
)
def test_filters(filled: Client, query: str, expected: list[int]) -> None:
    answer = filled.get(f"/docs?select=_id&{query.replace('^', '%5E')}".replace("Ü", "%C3%9C"))
    assert answer.status == 200, answer.body
    found = {row["_id"] for row in answer.json}
    assert found == {DOCUMENTS[number]["_id"] for number in expected}


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("_id,doc->>type", {"_id": "a*b", "type": "person"}),
        ("t:doc->tags->0,doc->tags->>1", {"t": "x", "tags": "y"}),
        ("doc->age,age_text:doc->>age", {"age": 7, "age_text": "7"}),
        ("n:doc->>age::int", {"n": 7}),
        ("_rev::char(1)", None),
        ("_rev::varchar,_id::text", {"_rev": "1-a", "_id": "a*b"}),
        ("_id->>x", {"x": None}),
        ("", DOCUMENTS[0]),
        ("*,id:_id", {**DOCUMENTS[0], "id": "a*b"}),
    ],
)
def test_what_is_shown(filled: Client, select: str, expected: Any) -> None:
    answer = filled.get(f"/docs?select={select}&_id=eq.a*b")
    if expected is None:
        assert answer.code == "PGRST100"
    else:
        assert answer.json == [expected]


def test_the_order_of_a_json_path(filled: Client) -> None:
    answer = filled.get("/docs?select=_rev&order=doc->age.desc.nullslast")
    assert [row["_rev"] for row in answer.json] == ["2-b", "1-a", None]


def test_nulls_can_be_left_out(filled: Client) -> None:
    query = "/docs?select=_id,_rev&_rev=is.null"
    answer = filled.get(query, Accept="application/vnd.pgrst.array+json;nulls=stripped")
    assert answer.json == [{"_id": 'a"b\\c'}]
    answer = filled.get(query, Accept="application/vnd.pgrst.object+json;nulls=stripped")
    assert answer.json == {"_id": 'a"b\\c'}
    assert answer.headers["Content-Type"] == "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8"


def test_an_array_that_postgres_cannot_read_is_the_requests_fault(filled: Client) -> None:
    answer = filled.get("/docs?_id=eq(any).{a")
    assert (answer.status, answer.code) == (400, "22P02")


@pytest.mark.parametrize(
    ("query", "prefer", "status", "content_range"),
    [
        ("limit=2", "count=exact", 206, "0-1/3"),
        ("limit=3", "count=exact", 200, "0-2/3"),
        ("offset=3", "count=exact", 206, "*/3"),
        ("limit=0", "count=exact", 206, "*/3"),
        ("_id=eq.nothing", "count=exact", 200, "*/0"),
        ("limit=2", "", 200, "0-1/*"),
        ("limit=2", "count=estimated", 206, "0-1/"),
        ("limit=2", "count=planned", 206, "0-1/"),
    ],
)
def test_counts(filled: Client, query: str, prefer: str, status: int, content_range: str) -> None:
    answer = filled.get(f"/docs?{query}", Prefer=prefer)
    assert answer.status == status
    assert answer.headers["Content-Range"].startswith(content_range)


def test_an_offset_beyond_the_last_row_is_a_416(filled: Client) -> None:
    answer = filled.get("/docs?offset=4", Prefer="count=exact")
    assert (answer.status, answer.code) == (416, "PGRST103")
    assert answer.json["details"] == "An offset of 4 was requested, but there are only 3 rows."
    assert answer.headers["Content-Range"] == "*/3"
    assert filled.get("/docs?offset=4").json == []


def test_a_head_is_answered_like_a_get_without_its_body(filled: Client) -> None:
    query = "/docs?select=_id&order=_id&limit=1"
    get, head = (filled.send(method, query, headers={"Prefer": "count=exact"}) for method in ("GET", "HEAD"))
    assert head.body == b""
    assert (head.status, head.headers["Content-Range"]) == (206, "0-0/3")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert filled.send("HEAD", query, headers={"Range": "2-2"}).headers["Content-Range"] == "0-0/*"


@pytest.fixture
def limited(installation: Installation) -> Iterator[Client]:
    with running(dataclasses.replace(installation.config, max_rows=2)) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        yield client


def test_no_more_rows_are_shown_than_configured(limited: Client) -> None:
    assert len(limited.post("/docs", DOCUMENTS, Prefer="return=representation").json) == 3
    assert len(limited.get("/docs").json) == 2
    assert len(limited.get("/docs?limit=3").json) == 2
    assert len(limited.get("/docs?limit=1").json) == 1
    answer = limited.get("/docs?offset=1", Prefer="count=exact")
    assert (answer.status, answer.headers["Content-Range"]) == (206, "1-2/3")
    answer = limited.get("/docs?_rev=is.null", Prefer="count=estimated")
    assert answer.headers["Content-Range"] == "0-0/1"
