"""The CouchDB-protocol server of the local environment, and writers that are acknowledged by it."""

from __future__ import annotations

import base64
import http.client
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import requests

from bench.suite.data import documents
from bench.suite.stand import Stand, wait_until
from cht_sync.runtime.couchdb import CouchdbServer
from cht_sync.settings import Settings

AT_ONCE = 1000
"""Documents in one `_bulk_docs`."""
WRITERS = 8
"""Connections that share the documents of one second."""


@contextmanager
def couchdb(bench: Stand) -> Iterator[None]:
    """Run the server, with empty databases."""
    server = CouchdbServer(bench.settings)
    with bench.running(server):
        wait_until(server.ready)
        server.after_start(lambda _text: None)
        yield


def fill(settings: Settings, count: int, source: Path) -> None:
    """Write documents into the first database."""
    address = f"{settings.couchdb_url}/{settings.couchdb_dbs[0]}/_bulk_docs"
    all_of_them = documents(count, source)
    with requests.Session() as session:
        session.auth = (settings.couchdb_user, settings.couchdb_password)
        while batch := list(islice(all_of_them, AT_ONCE)):
            docs = [json.loads(one.text) for one in batch]
            for doc in docs:
                del doc["_rev"]
            session.post(address, json={"docs": docs}, timeout=60).raise_for_status()


@contextmanager
def writing(settings: Settings, rate: float, seconds: float, prefix: str) -> Iterator[Connection]:
    """PUT persons at a rate from a process of its own; gives a pipe of (id, moment of the acknowledgement).

    Moments are those of `time.monotonic`, which all processes share. The last message is None.
    """
    context = multiprocessing.get_context("spawn")
    told, tells = context.Pipe(duplex=False)
    login = f"{settings.couchdb_user}:{settings.couchdb_password}"
    process = context.Process(
        target=_write,
        args=(settings.couchdb_port, settings.couchdb_dbs[0], login, rate, seconds, prefix, tells),
        daemon=True,
    )
    process.start()
    tells.close()
    try:
        yield told
    finally:
        process.join()


def _write(
    port: int, database: str, login: str, rate: float, seconds: float, prefix: str, tells: Connection
) -> None:
    """Each document has its moment; a writer that is late goes on at once."""
    count = int(rate * seconds)
    turn = threading.Lock()
    numbers = iter(range(count))
    begun = time.monotonic() + 0.5
    headers = {
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        "Content-Type": "application/json",
    }
    acknowledged: list[tuple[str, float]] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with turn:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            id = f"{prefix}-{number}"
            person = {
                "type": "person",
                "name": f"Person {number}",
                "notes": "x" * 900,
                "reported_date": number,
            }
            connection.request("PUT", f"/{database}/{id}", json.dumps(person), headers)
            answer = connection.getresponse()
            moment = time.monotonic()
            answer.read()
            if answer.status not in (201, 202):
                raise SystemExit(f"PUT was answered with {answer.status}")
            acknowledged.append((id, moment))

    writers = [threading.Thread(target=work) for _ in range(min(WRITERS, max(1, int(rate))))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for one in acknowledged:
        tells.send(one)
    tells.send(None)
