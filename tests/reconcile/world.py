"""A CouchDB database, its table, and the product's own pipeline between them when a test wants it."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from click.testing import CliRunner
from click.testing import Result as CliResult
from psycopg2 import sql
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import SECRET, Served

from cht_sync import render
from cht_sync.cli import main
from cht_sync.environments import Environment
from cht_sync.pipeline.config import load as load_pipeline
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.run import run_pipelines
from cht_sync.reconcile.databases import Result, Wishes, reconcile
from cht_sync.reconcile.state import Kind
from cht_sync.settings import Settings, declared, file_name, load

PATIENCE = 20.0


@dataclass
class Place:
    """Where a CouchDB is, and its login."""

    host: str
    port: int
    user: str
    password: str


@dataclass
class World:
    """Both sides of one database."""

    couch: Place
    served: Served
    database: str
    home: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    """Settings that differ."""

    @property
    def installation(self) -> Installation:
        return self.served.installation

    def environment(self) -> dict[str, str]:
        """The operator's settings."""
        return {
            "COUCHDB_HOST": self.couch.host,
            "COUCHDB_PORT": str(self.couch.port),
            "COUCHDB_USER": self.couch.user,
            "COUCHDB_PASSWORD": self.couch.password,
            "COUCHDB_DBS": self.database,
            **self.installation.settings(SECRET),
            "HTTP_ENDPOINT": f"127.0.0.1:{self.served.port}",
            "CHT_SYNC_HOME": str(self.home),
            **self.changes,
        }

    @property
    def settings(self) -> Settings:
        return load(Environment.GAMMA, home=self.home, environ=self.environment(), read_file=False)

    # CouchDB.

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of a successful answer about the database."""
        place = self.couch
        answer = requests.request(
            method,
            f"http://{place.host}:{place.port}/{file_name(self.database)}{path}",
            auth=(place.user, place.password),
            timeout=PATIENCE,
            **options,
        )
        answer.raise_for_status()
        return answer.json()

    def put(self, *ids: str, **members: Any) -> dict[str, str]:
        """Write documents as they are wanted now; return their revisions."""
        keys = self.ask("POST", "/_all_docs", json={"keys": list(ids)})["rows"]
        revisions = {
            row["key"]: row["value"]["rev"]
            for row in keys
            if "value" in row and not row["value"].get("deleted")
        }
        documents = [
            {"_id": one, "n": secrets.token_hex(4), **members}
            | ({"_rev": revisions[one]} if one in revisions else {})
            for one in ids
        ]
        answers = self.ask("POST", "/_bulk_docs", json={"docs": documents})
        return {one["id"]: one["rev"] for one in answers}

    def delete(self, *ids: str) -> None:
        for one in ids:
            rev = self.document(one)["_rev"]
            self.ask("DELETE", f"/{quote(one, safe='')}", params={"rev": rev})

    def document(self, document_id: str) -> Any:
        path = document_id if document_id.startswith("_design/") else quote(document_id, safe="")
        return self.ask("GET", f"/{path}")

    def winners(self) -> dict[str, tuple[str, bool, Any]]:
        """What CouchDB holds: id to revision, deletion mark and document."""
        changes = self.ask("GET", "/_changes", params={"include_docs": "true"})
        return {
            row["id"]: (row["changes"][0]["rev"], row.get("deleted", False), row["doc"])
            for row in changes["results"]
        }

    # PostgreSQL.

    def rows(self) -> dict[str, tuple[str, bool, Any]]:
        """What the table holds, in the same shape."""
        found = self.query("select _id, _rev, _deleted, doc from {}")
        return {one: (rev, deleted, doc) for one, rev, deleted, doc in found}

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("v1", self.database)

    def sql(self, statement: str) -> sql.Composed:
        """The statement with the table's name in it."""
        return sql.SQL(statement).format(self.table)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.installation.query(self.sql(statement), *values)

    def damage(self, statement: str, *values: Any) -> None:
        """Change the table behind everybody's back: no trigger sees it."""
        self.query("set local session_replication_role = replica; " + statement, *values)

    def forget(self, *ids: str) -> None:
        self.damage("delete from {} where _id = any(%s)", list(ids))

    def letters(self) -> list[tuple[Any, ...]]:
        return self.installation.query("select doc_id, rev, code, closed_by from v1.dead_letters order by id")

    # The product.

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        """The pipeline as `up` runs it, in a thread."""
        settings = self.settings
        text = render.render(settings, engine="native")[f"pipeline/{file_name(self.database)}.conf"]
        text = text.replace('"data/', f'"{self.home}/')
        context = PluginContext(self.database, self.home)
        built = load_pipeline(text, render.variables(settings), context)
        named = NamedPipeline(self.database, built, DeadLetterFile(self.home, self.database))
        stop = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                run_pipelines([named], stop)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)
        assert not thread.is_alive()
        assert failures == []

    def load(self) -> None:
        """Let the pipeline bring everything, and end."""
        self.load_until(lambda: self.rows() == self.winners())

    def load_until(self, condition: Callable[[], bool]) -> None:
        with self.pipeline():
            eventually(condition)

    def run(self, *words: str, input: str | None = None) -> CliResult:
        """A command of cht-sync, in this process, with the operator's settings and no others."""
        names = {name: None for name, _variable in declared()}
        environ = {**names, **self.environment()}
        command = [*words, "--env", "gamma"]
        return CliRunner().invoke(main, command, env=environ, input=input, catch_exceptions=False)

    def verify(self, **wishes: Any) -> Result:
        return reconcile(self.settings, self.database, Wishes(**{"wait": 30.0, **wishes}), _nothing)

    def repair(self, **wishes: Any) -> Result:
        return self.verify(repair=True, **wishes)


@contextmanager
def edited(world: World, ids: Sequence[str], dice: random.Random) -> Iterator[threading.Thread]:
    """Somebody edits some of the documents and deletes two, 25 times over, in the thread that is given.

    At the end that is waited for, and what failed there fails the test.
    """
    failures: list[BaseException] = []

    def edit() -> None:
        try:
            for _round in range(25):
                world.put(*dice.sample(ids, 8))
                alive = [one for one, (_rev, deleted, _doc) in world.winners().items() if not deleted]
                if len(alive) > 10:
                    world.delete(*dice.sample(alive, 2))
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=edit, daemon=True)
    writer.start()
    yield writer
    writer.join(PATIENCE)
    assert not writer.is_alive()
    assert failures == []


def at_once(work: Callable[[], Result], times: int) -> list[Result]:
    """Do the same in so many threads; return what came of each."""
    results: list[Result] = []
    threads = [
        threading.Thread(target=lambda: results.append(work()), daemon=True) for _number in range(times)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
    assert len(results) == times
    return results


def found(result: Result) -> dict[str, list[str]]:
    """The differences by kind; kinds without any are left out."""
    return {kind.value: ids for kind, ids in result.finding.examples.items() if ids}


def only(kind: Kind, *ids: str) -> dict[str, list[str]]:
    """What `found` is to be."""
    return {kind.value: sorted(ids)}


def world_of(served: Served, place: Place, databases: Sequence[str], home: Path) -> World:
    """A world around the first of these databases, which are all synced; as if no other had been there."""
    served.installation.init(" ".join(databases))
    world = World(place, served, databases[0], home)
    world.query("truncate {}, v1.couchdb_progress, v1.dead_letters, v1.replaced_values restart identity")
    return world


def _nothing(_done: int, _total: int) -> None:
    return None
