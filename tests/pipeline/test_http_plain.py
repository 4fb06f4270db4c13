"""The http output to servers of which nothing is known but HTTP: connections, refusals, crashes."""

from __future__ import annotations

import gc
import itertools
import json
import ssl
import threading
import tracemalloc
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from engine_runs import start_process
from fake_couchdb import fake_couchdb
from http_server import HttpServer, http_server, server_tls
from printed import plugin
from waiting import eventually
from warehouse.served import ObservedStop

from cht_sync import backoff
from cht_sync.errors import ConfigError, DeadLettersFull
from cht_sync.pipeline.config import load
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.config.tree import Plugin, Setting
from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.outputs.http import Options, build
from cht_sync.pipeline.plugins import Password, PluginContext

PLACE = Place("", 1, 1)
SECRET = "a-secret-of-tests-that-is-long-enough-0123456789"
LARGE = 20 << 20
PYTHONPATH = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as one:
        yield one


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "delays", lambda **_: itertools.repeat(0.01))


def output(folder: Path, url: str, **options: Any) -> Output:
    return build(Options(**{"url": url, "http_method": "post", **options}), PluginContext("main", folder))


def write(one: Output, *events: dict[str, Any]) -> None:
    assert one.write(Batch([Event(dict(event)) for event in events]), threading.Event())


def letters(folder: Path) -> list[dict[str, Any]]:
    path = folder / "dead_letter_queue" / "main.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def numbers(server: HttpServer) -> list[Any]:
    return [json.loads(request.body)["n"] for request in server.requests]


# Connections.


def test_a_connection_serves_all_requests(server: HttpServer, tmp_path: Path) -> None:
    write(output(tmp_path, server.url), {"n": 1}, {"n": 2}, {"n": 3})
    assert [request.connection for request in server.requests] == [1, 1, 1]


def test_without_keepalive_each_request_has_a_connection_of_its_own(
    server: HttpServer, tmp_path: Path
) -> None:
    write(output(tmp_path, server.url, keepalive=False), {"n": 1}, {"n": 2})
    assert [request.connection for request in server.requests] == [1, 2]
    assert server.requests[0].header("Connection") == "close"


def test_cookies_are_sent_back_unless_told_otherwise(server: HttpServer, tmp_path: Path) -> None:
    server.answers = [{"status": 200, "headers": {"Set-Cookie": "s=1; Path=/"}}]
    write(output(tmp_path, server.url), {"n": 1}, {"n": 2})
    write(output(tmp_path, server.url, cookies=False), {"n": 3}, {"n": 4})
    assert [request.header("Cookie") for request in server.requests] == [None, "s=1", None, None]


@pytest.mark.parametrize("as_hash", [False, True])
def test_a_proxy_is_given_the_whole_address_and_its_login(
    server: HttpServer, tmp_path: Path, as_hash: bool
) -> None:
    parts = {"host": "127.0.0.1", "port": str(server.port), "user": "u", "password": "p:w"}
    proxy = parts if as_hash else f"http://u:p%3Aw@127.0.0.1:{server.port}"
    write(output(tmp_path, "http://elsewhere.invalid/x", proxy=(proxy,)), {"n": 1})
    (request,) = server.requests
    assert request.target == "http://elsewhere.invalid/x"
    assert request.header("Proxy-Authorization") == "Basic " + b64encode(b"u:p:w").decode()


def test_redirects_take_the_login_along_to_the_same_server_only(server: HttpServer, tmp_path: Path) -> None:
    with http_server() as other:
        server.answers = [
            {"status": 302, "headers": {"Location": "/next"}},
            {"status": 302, "headers": {"Location": f"{other.url}/there"}},
        ]
        login = {"user": "u", "password": Password("p")}
        write(output(tmp_path, server.url, http_method="get", **login), {"n": 1})
        assert [request.header("Authorization") is not None for request in server.requests] == [True, True]
        assert [request.target for request in other.requests] == ["/there"]
        assert other.requests[0].header("Authorization") is None


def test_an_endless_redirect_is_tried_again_later(server: HttpServer, tmp_path: Path) -> None:
    loop = {"status": 302, "headers": {"Location": "/x"}}
    server.answers = [*[loop] * 50, {"status": 200}]
    write(output(tmp_path, f"{server.url}/x", http_method="get"), {"n": 1})
    assert len(server.requests) == 51
    assert letters(tmp_path) == []


def test_an_answer_that_is_not_what_it_says_is_an_answer(server: HttpServer, tmp_path: Path) -> None:
    server.answers = [{"status": 200, "headers": {"Content-Encoding": "gzip"}, "body": "no gzip"}]
    write(output(tmp_path, server.url), {"n": 1})
    assert len(server.requests) == 1


def test_a_long_answer_is_read_past_or_its_connection_given_up(server: HttpServer, tmp_path: Path) -> None:
    server.answers = [{"status": 200, "body": "x" * 100_000}, {"status": 200, "body": "x" * (3 << 20)}]
    write(output(tmp_path, server.url), {"n": 1}, {"n": 2}, {"n": 3})
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_a_server_is_trusted_by_its_authority_and_sees_our_certificate(
    certificates: Path, tmp_path: Path
) -> None:
    with http_server(tls=server_tls(certificates, asks=True)) as server:
        url = server.url.replace("http", "https")
        ours = {"ssl_certificate": certificates / "client.pem", "ssl_key": certificates / "client.key"}
        write(output(tmp_path, url, ssl_certificate_authorities=(certificates / "ca.pem",), **ours), {"n": 1})
        write(output(tmp_path, url, ssl_verification_mode="none", **ours), {"n": 2})
        assert numbers(server) == [1, 2]


@pytest.mark.parametrize("options", [{}, {"ssl_supported_protocols": ("TLSv1.2",)}])
def test_a_server_that_is_not_trusted_is_sent_nothing_and_waited_for(
    certificates: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Also one that has no version of TLS in common with us."""
    tls = server_tls(certificates)
    if options:
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        options = {**options, "ssl_verification_mode": "none"}
    with http_server(tls=tls) as server:
        stop, done = ObservedStop(), threading.Event()
        one = output(tmp_path, server.url.replace("http", "https"), **options)
        thread = threading.Thread(
            target=lambda: one.write(Batch([Event({"n": 1})]), stop) or done.set(), daemon=True
        )
        thread.start()
        stop.await_pause()
        stop.set()
        assert done.wait(20)
        assert server.requests == []
        assert letters(tmp_path) == []


def test_a_certificate_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.write_text("no certificate")
    with pytest.raises(ValueError, match=r"x\.pem.*PEM"):
        output(tmp_path, "https://h/", ssl_certificate_authorities=(file,))


# Refusals.


@pytest.mark.parametrize(
    "url",
    [
        *("h/x", "ftp://h/x", "http://", "http://h/a b", "http://h/%{[a", "http://h/%zz", "http://h:x/"),
        *("http://h/x y/%{a}", "ftp://%{h}/", "h/%{a}", "http://h:x/%{a}", "%{u}/a b", "http://h/%{a}/%zz"),
    ],
)
def test_an_address_that_can_never_be_one_is_refused_at_start(tmp_path: Path, url: str) -> None:
    value = plugin(Plugin("http", {"url": Setting(url, PLACE), "http_method": Setting("post", PLACE)}, PLACE))
    with pytest.raises(ConfigError, match='option "url" of output "http"'):
        load(f"output {{ {value} }}", {}, PluginContext("main", tmp_path), support_escapes=True)


@pytest.mark.parametrize(
    "url",
    [
        *("%{u}", "%{s}://h/x", "http%{s}://h/", "http://%{h}/", "http://h:%{p}/", "http://h:9200%{path}"),
        *(
            "http://[%{ip}]/",
            "http://%{u}:%{p}@h/",
            "http://h/%{+YYYY.MM}/%{[a][b]}",
            "http://h/%{{yyyy-MM}}",
        ),
    ],
)
def test_an_address_that_may_become_one_is_taken(tmp_path: Path, url: str) -> None:
    value = plugin(Plugin("http", {"url": Setting(url, PLACE), "http_method": Setting("post", PLACE)}, PLACE))
    assert load(f"output {{ {value} }}", {}, PluginContext("main", tmp_path), support_escapes=True).outputs


def test_of_a_batch_that_is_refused_each_event_is_a_dead_letter(server: HttpServer, tmp_path: Path) -> None:
    server.answers = [{"status": 400, "body": "why"}]
    events = [Event({"doc": {"_rev": f"{n}-x"}, "n": n}, {"_id": f"d{n}", "seq": f"{n}-s"}) for n in (1, 2)]
    assert output(tmp_path, server.url, format="json_batch").write(Batch(events), threading.Event())
    assert [
        (one["document_id"], one["revision"], one["sequence"], one["code"], one["reason"])
        for one in letters(tmp_path)
    ] == [("d1", "1-x", "1-s", "HTTP 400", "why"), ("d2", "2-x", "2-s", "HTTP 400", "why")]
    assert json.loads(letters(tmp_path)[0]["document"])["n"] == 1


def test_an_event_that_is_refused_when_the_file_of_dead_letters_is_full_stops_the_pipeline(
    server: HttpServer, tmp_path: Path
) -> None:
    server.answers = [{"status": 400}]
    context = PluginContext("main", tmp_path, dead_letter_bytes=1)
    one = build(Options(url=server.url, http_method="post"), context)
    write(one, {"n": 1})
    with pytest.raises(DeadLettersFull):
        write(one, {"n": 2})
    assert [json.loads(letter["document"])["n"] for letter in letters(tmp_path)] == [1]


def test_a_batch_that_is_too_large_goes_in_halves(server: HttpServer, tmp_path: Path) -> None:
    refused = {"status": 413}
    server.answers = [refused, refused, refused, {"status": 200}]
    write(output(tmp_path, server.url, format="json_batch"), *[{"n": n} for n in range(4)])
    sent = [[event["n"] for event in json.loads(request.body)] for request in server.requests]
    assert sent == [[0, 1, 2, 3], [0, 1], [0], [1], [2, 3]]
    assert [json.loads(letter["document"])["n"] for letter in letters(tmp_path)] == [0]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://127.0.0.1:{port}/%{n}"},
        {"url": "%{n}"},
        {"url": "ftp://%{m}/"},
        {"headers": {"X": "%{n}"}},
        {"url": "http://127.0.0.1:{port}/%{nope}"},
    ],
)
def test_an_event_of_which_no_request_can_be_made_is_a_dead_letter(
    server: HttpServer, tmp_path: Path, options: dict[str, Any]
) -> None:
    options = {"url": server.url, **options}
    options["url"] = options["url"].replace("{port}", str(server.port))
    write(output(tmp_path, **options), {"n": "a\nb", "m": "x"})
    assert server.requests == []
    assert [letter["code"] for letter in letters(tmp_path)] == ["unsendable"]


def test_a_failure_delays_what_comes_after_it_and_nothing_is_overtaken(
    server: HttpServer, tmp_path: Path
) -> None:
    server.answers = [{"status": 200}, *[{"status": 503}] * 5, {"status": 200}]
    write(output(tmp_path, server.url), {"n": 1}, {"n": 2}, {"n": 3})
    assert numbers(server) == [1, *[2] * 6, 3]


def test_a_refused_token_is_renewed_once_before_the_status_counts(server: HttpServer, tmp_path: Path) -> None:
    server.answers = [{"status": 401}, {"status": 200}, {"status": 401}]
    one = output(tmp_path, server.url, jwt_secret=Password(SECRET), jwt_role="writer")
    write(one, {"n": 1}, {"n": 2})
    assert numbers(server) == [1, 1, 2, 2]
    for request in server.requests:
        token = str(request.header("Authorization")).removeprefix("Bearer ")
        assert jwt.decode(token, SECRET, algorithms=["HS256"])["role"] == "writer"
    assert [letter["code"] for letter in letters(tmp_path)] == ["HTTP 401"]


def test_the_log_and_the_errors_hold_no_login(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, server: HttpServer
) -> None:
    server.answers = [{"status": 503}, {"status": 400}]
    url = server.url.replace("http://", "http://medic:hidden@") + "/x?key=hidden"
    write(output(tmp_path, url, proxy=(f"http://u:hidden@127.0.0.1:{server.port}",)), {"n": 1})
    assert server.url in caplog.text
    assert "hidden" not in caplog.text
    for wrong in ({"proxy": ("ftp://u:hidden@h",)}, {"user": "u"}, {"password": Password("hidden")}):
        with pytest.raises(ValueError, match=r"proxy|go together") as refusal:
            output(tmp_path, server.url, **wrong)
        assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "message"}, 'needs the option "message"'),
        ({"user": "u"}, "user and password go together"),
        ({"ssl_certificate": Path("x.pem")}, "ssl_certificate and ssl_key go together"),
        ({"jwt_secret": Password("x")}, "jwt_secret and jwt_role go together"),
        ({"format": "json_batch", "url": "http://h/%{x}"}, "cannot depend on the event"),
        ({"position_headers": True, "user": "u", "jwt_secret": Password("x")}, "both be the Authorization"),
        ({"position_headers": True, "retry_failed": False, "cookies": False}, "retry_failed.*cookies"),
        ({"position_headers": True, "content_type": "text/csv"}, "application/json"),
        ({"position_headers": True, "headers": {"X": "%{n}"}}, "cannot depend on the event"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(**{"url": "http://h/t", "http_method": "post", **options})


# Promises.


@pytest.mark.parametrize(("format", "documents"), [("json", 1), ("json_batch", 4)])
def test_documents_of_20_mb_pass_and_cost_no_more_memory_than_what_is_sent(
    server: HttpServer, tmp_path: Path, format: str, documents: int
) -> None:
    """The body of one request is held, beside one document while that is written."""
    raw = RawDocument(b'{"_id":"a","t":"' + b"x" * LARGE + b'"}', {})
    one = output(tmp_path, server.url, format=format, socket_timeout=60)
    events = [Event({"doc": raw}) for _ in range(4)]
    gc.collect()
    tracemalloc.start()
    try:
        assert one.write(Batch(events), threading.Event())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(server.requests) == (4 if format == "json" else 1)
    assert peak < (documents + 3) * LARGE


def test_a_pipeline_killed_again_and_again_delivers_all_in_order(tmp_path: Path) -> None:
    """The position moves only after delivery: what was under way is sent again, and nothing is left out."""
    ids = [f"d{number:02}" for number in range(30)]
    with fake_couchdb() as couchdb, http_server() as server:
        couchdb.write(*ids)
        config = f"""
        input {{ couchdb_changes {{ db => "medic" host => "127.0.0.1" port => {couchdb.port}
            keep_id => true batch_size => 3 mode => "normal" sequence_path => "{tmp_path}/sequence" }} }}
        output {{ http {{ url => "{server.url}" http_method => "post" }} }}"""

        for kills in range(1, 4):
            before = len(server.requests)
            process = start_process(tmp_path, config, PYTHONPATH)
            eventually(lambda before=before, kills=kills: len(server.requests) >= before + 4 + kills)  # type: ignore[misc]
            process.kill()
            process.wait()
        assert start_process(tmp_path, config, PYTHONPATH).wait(60) == 0
        sent = [json.loads(request.body)["doc"]["_id"] for request in server.requests]
    assert set(sent) == set(ids)
    firsts = list(dict.fromkeys(sent))
    assert firsts == ids
