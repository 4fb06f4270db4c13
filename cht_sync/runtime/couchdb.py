"""The CouchDB-protocol server of the local environment, from npm packages.

Apache CouchDB itself is in no package registry; compose uses its image. This one speaks its protocol
(documents, `_bulk_docs`, `_all_docs`, `_changes`) over LevelDB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import requests

from cht_sync import process
from cht_sync.errors import ServiceError
from cht_sync.files import private_folder
from cht_sync.logins import basic
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
        self._program = settings.state_folder / "couchdb-server" / _version()
        self._data = settings.data_folder / "couchdb"

    def prepare(self, say: Say) -> None:
        """Install the program and its packages, once for each version of them, whole or not at all."""
        private_folder(self._data)
        if self._program.exists():
            return
        say("installing its npm packages")
        # Earlier versions, and what a killed installation left.
        shutil.rmtree(self._program.parent, ignore_errors=True)
        self._program.parent.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=self._program.parent, ignore_cleanup_errors=True) as folder:
            half_made = Path(folder) / "program"
            shutil.copytree(SOURCES, half_made)
            node_words, npm = node.programs()
            # npm looks for node on PATH, where the one of the Python package is not.
            path = os.pathsep.join([str(Path(node_words[0]).parent), os.environ.get("PATH", os.defpath)])
            process.run(
                [*npm, *INSTALL],
                cwd=half_made,
                env={**inherited_environment(), **node.download_environment(), "PATH": path},
                timeout=INSTALL_TIMEOUT,
            )
            half_made.rename(self._program)

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
        # Not `_up`, which needs no login: that must work too.
        try:
            return self._request("GET", "_all_dbs").status_code == 200
        except requests.RequestException:
            return False

    def after_start(self, say: Say) -> None:
        for database in self._settings.couchdb_dbs:
            say(f"creating {database}")
            answer = self._request("PUT", quote(database, safe=""))
            if answer.status_code not in (CREATED, EXISTS):
                raise ServiceError(
                    self.name,
                    f"does not create {database}: {answer.text.strip()[:300]}",
                    hint="The embedded server takes no slash, and no leading _ but _users and the like.",
                )

    def _request(self, method: str, path: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment is not for this machine
            return session.request(
                method,
                f"http://127.0.0.1:{self.port}/{path}",
                auth=basic(self._settings.couchdb_user, self._settings.couchdb_password),
                timeout=REQUEST_TIMEOUT,
            )


def _version() -> str:
    """A name for exactly these scripts and packages."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.js*")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
