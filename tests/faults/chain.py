"""The whole chain as the product starts it, a proxy between every two parts, and the proof.

::

    CouchDB --(source)--> engine --(ingest)--> PostgREST --(warehouse)--> PostgreSQL <--(models)-- dbt loop
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from free_ports import free_port
from postgres_fixture import SURVIVES_PROCESSES_BUT_NOT_THE_MACHINE, PostgresServer
from psycopg2 import sql
from reconcile.world import Place, World, found
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import Served

from cht_sync.environments import Environment
from cht_sync.generator import Client
from cht_sync.runtime.dbt import Dbt
from cht_sync.runtime.logstash import Logstash
from cht_sync.runtime.postgres import Postgres, binaries
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.settings import Settings, load
from faults.load import Load
from faults.parts import CouchDB, Part, copied_package
from faults.proxy import Proxy

DATABASE = "medic"
MOST_MEMORY = 200 << 20
"""Bytes that no part of ours may exceed: they hold 65 MB with nothing to do."""
CONNECTIONS = ("source", "ingest", "warehouse", "models")


class Chain:
    """`home` is the installation's folder; nothing is started before `start`."""

    def __init__(self, home: Path, *, cluster: Path | None = None, **settings: str) -> None:
        self.home = home
        self._changes = settings
        couch = Place("127.0.0.1", free_port(), "medic", secrets.token_urlsafe(16))
        server = PostgresServer("127.0.0.1", free_port(), "owner", secrets.token_hex(8), binaries())
        self._ingest_port = free_port()
        self._api_port, self._dbt_port = free_port(), free_port()
        self.proxies = {
            name: Proxy(port)
            for name, port in zip(
                CONNECTIONS, (couch.port, self._ingest_port, server.port, server.port), strict=True
            )
        }
        installation = Installation(server, "data")
        self.world = World(couch, Served(installation, self._ingest_port), DATABASE, home)
        package = copied_package(home)
        self._package = {
            "CHT_PIPELINE_BRANCH_URL": str(package),
            "DBT_TEST_INTERVAL": "0",
            "DATAEMON_INTERVAL": "1",
        }
        self.couchdb = Part(CouchDB(home, port=couch.port, user=couch.user, password=couch.password), home)
        self._cluster = cluster or home / "cluster"
        postgres = Postgres(self._cluster, port=server.port, user=server.user, password=server.password)
        self.postgres = Part(postgres, home, None, *SURVIVES_PROCESSES_BUT_NOT_THE_MACHINE)
        self.logstash = Part(self.new_logstash(), home)
        self.postgrest = Part(Postgrest(self.settings("warehouse")), home)
        self.dbt = Part(Dbt(self.settings("models"), wait_for_documents=False), home, self._dbt_environment)
        self.parts = (self.couchdb, self.postgres, self.postgrest, self.logstash, self.dbt)

    def settings(self, postgres: str = "") -> Settings:
        """The operator's settings, with proxies for addresses; `postgres` names the one before PostgreSQL."""
        return load(Environment.GAMMA, home=self.home, environ=self.environment(postgres), read_file=False)

    def environment(self, postgres: str = "") -> dict[str, str]:
        """The same as variables."""
        through = {
            "COUCHDB_PORT": str(self.proxies["source"].port),
            "HTTP_ENDPOINT": f"127.0.0.1:{self.proxies['ingest'].port}",
            "POSTGREST_PORT": str(self._ingest_port),
            "LOGSTASH_API_PORT": str(self._api_port),
            "DBT_METRICS_PORT": str(self._dbt_port),
            **self._package,
        }
        if postgres:
            through["POSTGRES_PORT"] = str(self.proxies[postgres].port)
        return {**self.world.environment(), **through, **self._changes}

    def new_logstash(self) -> Logstash:
        """The pipelines, with the settings as they are now."""
        return Logstash(self.settings())

    def second_logstash(self, ingest: Proxy | None = None) -> Part:
        """The same pipelines once more, with a folder, and a way to PostgREST, of their own."""
        environ = {**self.environment(), "LOGSTASH_API_PORT": str(free_port())}
        if ingest is not None:
            environ["HTTP_ENDPOINT"] = f"127.0.0.1:{ingest.port}"
        home = self.home / "second"
        service = Logstash(load(Environment.GAMMA, home=home, environ=environ, read_file=False))
        service.prepare(print)
        return Part(service, home)

    def _dbt_environment(self) -> Mapping[str, str]:
        return self.environment("models")

    # Starting and stopping.

    def start(self, *, models: bool = True) -> None:
        """Start every part, and wait until documents can pass."""
        self.start_servers()
        self.postgrest.start()
        self.postgrest.ready()
        self.logstash.service.prepare(print)
        self.faster_heartbeats()
        self.logstash.start()
        self.logstash.ready()
        if models:
            self.dbt.start()

    def start_servers(self) -> None:
        """The two databases, with their contents."""
        self.couchdb.start()
        self.postgres.service.prepare(print)
        self.postgres.start()
        self.couchdb.ready()
        self.postgres.ready()
        place = self.world.couch
        client = Client(f"http://{place.host}:{place.port}", place.user, place.password)
        client.create_database(DATABASE)
        client.close()
        self.init_db()

    def init_db(self) -> None:
        """What `up` and `cht-sync init-db` do."""
        self.postgrest.service.prepare(print)

    def becomes_a_standby(self) -> None:
        """At its next start PostgreSQL is in recovery, and stays there until it is promoted."""
        data = self._cluster / "data"
        signal_file = data / "standby.signal"
        signal_file.touch()
        owner = data.stat()
        os.chown(signal_file, owner.st_uid, owner.st_gid)

    def faster_heartbeats(self) -> None:
        """So that a test need not wait for half a minute until a feed counts as dead."""
        for config in self.home.glob(".cht-sync/*/logstash/pipeline/*.conf"):
            config.write_text(config.read_text().replace("heartbeat => 10000", "heartbeat => 1000"))

    def close(self) -> None:
        """Stop everything, in the reverse order."""
        for part in reversed(self.parts):
            part.kill() if part is not self.postgres else part.stop()
        for proxy in self.proxies.values():
            proxy.close()

    def restart(self, part: Part, *, waits: bool = True) -> None:
        """As the supervisor does. PostgreSQL may need a try more, while its killed children end."""
        if not waits and not part.lives() and part is not self.postgres:
            part.start()
            return

        def started() -> bool:
            if not part.lives():
                if part is self.postgres:
                    part.service.prepare(print)
                part.start()
            return part.service.ready()

        self.until(started)

    @contextmanager
    def load(self, seed: int, *, pause: float = 0.05) -> Iterator[Load]:
        """People at work until the block ends; it begins when the first document is in PostgreSQL."""
        load = Load(self.world, seed, pause=pause)
        load.start()
        try:
            self.until(lambda: bool(self.world.rows()))
            yield load
        finally:
            load.stop()

    # Looking.

    def position(self) -> tuple[object, ...]:
        """Changes with every request that wrote; the same while PostgreSQL is away."""
        try:
            rows = self.world.installation.query("select epoch, batch from v1.couchdb_progress")
        except psycopg2.Error:
            return ()
        return rows[0] if rows else ()

    def beats(self, times: int = 5) -> None:
        """Wait for so many heartbeats of one writer; the default is more than a standby waits in vain."""
        first = self._heartbeat()
        self.until(lambda: self._heartbeat()[0] == first[0] and self._heartbeat()[1] >= first[1] + times)

    def _heartbeat(self) -> tuple[int, int]:
        ((epoch, beat),) = self.world.installation.query(
            "select epoch, beat from v1.cht_sync_heartbeats where not standby"
        )
        return epoch, beat

    def another_writes_than(self, epoch: object) -> None:
        """Wait for a take-over: `eventually` gives it less time than a hold, five minutes, lasts."""
        self.until(lambda: self.position() != () and self.position()[0] != epoch)

    def stands_still(self) -> None:
        """Wait until nothing has been written for a while, although there is something to write."""
        last: list[tuple[object, ...]] = []

        def still() -> bool:
            last.append(self.position())
            return len(last) > 50 and len(set(last[-50:])) == 1

        self.until(still)

    def says(self, part: Part, text: str) -> None:
        """Wait until the log of a part has this."""
        self.until(lambda: text in part.said())

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; where it does not come, show what every part said last."""
        try:
            eventually(condition)
        except pytest.fail.Exception as failure:
            tails = [f"{part.name}: {part.said()[-3_000:]}" for part in self.parts]
            raise AssertionError("\n\n".join((str(failure), *tails))) from failure

    def moves(self) -> None:
        """Wait until something has been written."""
        before = self.position()
        self.until(lambda: self.position() not in ((), before))

    def caught_up(self) -> None:
        """Wait until PostgreSQL holds what CouchDB holds, document by document."""
        self.until(lambda: self.world.rows() == self.world.winners())

    def models_caught_up(self) -> None:
        """Wait until the model holds what the table holds."""
        self.until(
            lambda: self._modelled() == {one: doc for one, (_rev, _gone, doc) in self.world.rows().items()}
        )

    def _modelled(self) -> dict[str, object]:
        statement = sql.SQL("select uuid, doc from {}.documents").format(sql.Identifier("dbt"))
        try:
            found = self.world.installation.query(statement)
        except psycopg2.errors.UndefinedTable:
            return {}
        names = [name for name, _doc in found]
        assert len(set(names)) == len(names), "a document is twice in the model"
        return dict(found)

    def proves_itself(self) -> None:
        """Nothing missing, nothing doubled, nothing set aside; bounded memory; no traceback for anybody."""
        assert found(self.world.verify()) == {}
        assert self.world.letters() == []
        for part in (self.postgrest, self.logstash, self.dbt):
            if part.lives():
                assert part.memory() < MOST_MEMORY, part.name
            assert "Traceback" not in part.news(), part.said()
