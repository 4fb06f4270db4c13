"""The CouchDB-protocol server of the local environment, from npm packages.

Apache CouchDB itself is in no package registry; compose uses its image. This one speaks its protocol
(documents, `_bulk_docs`, `_all_docs`, `_changes`) over LevelDB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import requests

from cht_sync import process
from cht_sync.errors import ServiceError
from cht_sync.files import private_folder, write_atomically
from cht_sync.runtime import node
from cht_sync.runtime.service import Say, Service, inherited_environment
from cht_sync.settings import Settings

SOURCES = Path(__file__).parent / "couchdb_server"
INSTALL = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
INSTALL_TIMEOUT = 600.0
REQUEST_TIMEOUT = 10.0
CREATED, EXISTS = 201, 412


class CouchdbServer(Service):
    """Listens on loopback behind Basic authentication; makes the databases of COUCHDB_DBS."""

    name = "couchdb"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.port = settings.couchdb_port
        self._program = settings.state_folder / "couchdb-server"
        self._data = settings.state_folder / "couchdb"

    def prepare(self, say: Say) -> None:
        """Install the packages of the lock file, once for each version of it."""
        private_folder(self._data)
        lock = (SOURCES / "package-lock.json").read_bytes()
        wanted = hashlib.sha256(lock).hexdigest()
        marker = self._program / "installed"
        self._program.mkdir(parents=True, exist_ok=True)
        if not marker.exists() or marker.read_text() != wanted:
            say("installing its npm packages")
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, self._program / name)
            _node, npm = node.programs()
            # npm looks for node on PATH, where the one of the Python package is not.
            path = os.pathsep.join([str(Path(_node[0]).parent), os.environ.get("PATH", os.defpath)])
            npm_settings = {
                name: value
                for name, value in os.environ.items()
                if name.lower().startswith("npm_config_") or name.lower().endswith("_proxy")
            }
            process.run(
                [*npm, *INSTALL],
                cwd=self._program,
                env={
                    **inherited_environment(),
                    **npm_settings,
                    **{name: os.environ[name] for name in ("NODE_EXTRA_CA_CERTS",) if name in os.environ},
                    "PATH": path,
                },
                timeout=INSTALL_TIMEOUT,
            )
            write_atomically(marker, wanted)
        for script in SOURCES.glob("*.js"):
            shutil.copy(script, self._program / script.name)

    def command(self) -> list[str]:
        node_words, _npm = node.programs()
        return [*node_words, str(self._program / "server.js")]

    def environment(self) -> Mapping[str, str]:
        return {
            "COUCHDB_USER": self._settings.couchdb_user,
            "COUCHDB_PASSWORD": self._settings.couchdb_password,
            "COUCHDB_BIND_ADDRESS": "127.0.0.1",
            "COUCHDB_PORT": str(self.port),
            "COUCHDB_DATA": str(self._data),
        }

    def work_folder(self) -> Path:
        return self._data

    def ready(self) -> bool:
        # Not `_up`, which needs no login: another installation's server would answer it too.
        try:
            return self._request("GET", "_all_dbs") == 200
        except requests.RequestException:
            return False

    def after_start(self, say: Say) -> None:
        for database in self._settings.couchdb_dbs:
            say(f"creating {database}")
            status = self._request("PUT", quote(database, safe=""))
            if status not in (CREATED, EXISTS):
                raise ServiceError(self.name, f"answered {status} when asked to create {database}")

    def _request(self, method: str, path: str) -> int:
        return requests.request(
            method,
            f"http://127.0.0.1:{self.port}/{path}",
            auth=(self._settings.couchdb_user, self._settings.couchdb_password),
            timeout=REQUEST_TIMEOUT,
        ).status_code
