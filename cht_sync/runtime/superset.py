"""Superset in a virtual environment of its own, with the dashboards that come with cht-sync.

It wants other versions of common packages than everything else here, and those of
`superset/requirements.txt` together: the newest ones do not start.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import requests

from cht_sync import process
from cht_sync.errors import ServiceError
from cht_sync.files import private_folder, write_atomically
from cht_sync.runtime.service import Say, Service, inherited_environment
from cht_sync.settings import CHECKOUT, Settings
from cht_sync.warehouse.connection import dbt_endpoint

SOURCES = CHECKOUT / "superset"
SUPPORTED_PYTHON = ("3.11", "3.12")
"""Those for which there are wheels of all these versions."""
INSTALL_TIMEOUT = 1800.0
PROVISION_TIMEOUT = 300.0
REQUEST_TIMEOUT = 5.0
WORKERS, THREADS = 2, 8


def python() -> str | None:
    """A Python that can run Superset: our own, else another one of this machine; None where there is none."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own in SUPPORTED_PYTHON:
        return sys.executable
    return next((found for one in SUPPORTED_PYTHON if (found := shutil.which(f"python{one}"))), None)


class Superset(Service):
    """Listens on loopback; the first administrator is `admin` with SUPERSET_PASSWORD."""

    name = "superset"
    start_timeout = 180.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.port = settings.superset_port
        self._venv = settings.state_folder / "superset" / _digest(SOURCES / "requirements.txt")
        self._data = settings.data_folder / "superset"

    def prepare(self, say: Say) -> None:
        """Install once for each set of versions; then bring its database and the dashboards up to date."""
        private_folder(self._data)
        if not (self._venv / "complete").exists():
            self._install(say)
        wanted = self._state_of_provisioning()
        marker = self._data / "provisioned"
        if not marker.exists() or marker.read_text() != wanted:
            say("preparing its database and the dashboards")
            self.provision("start")
            write_atomically(marker, wanted)

    def provision(self, *words: str) -> list[str]:
        """Run `superset/provision`; return its lines. Raises ChtSyncError."""
        output = process.run(
            [self._venv / "bin" / "python", SOURCES / "provision", *words],
            env={**inherited_environment(), **self.environment()},
            cwd=self._data,
            timeout=PROVISION_TIMEOUT,
        )
        return output.splitlines()

    def command(self) -> list[str]:
        return [
            str(self._venv / "bin" / "gunicorn"),
            f"--bind=127.0.0.1:{self.port}",
            f"--workers={WORKERS}",
            f"--threads={THREADS}",
            "--worker-class=gthread",
            "--timeout=120",
            f"--worker-tmp-dir={self._data}",
            "superset.app:create_app()",
        ]

    def environment(self) -> Mapping[str, str]:
        settings = self._settings
        return {
            "FLASK_APP": "superset.app:create_app()",
            "SUPERSET_CONFIG_PATH": str(SOURCES / "superset_config.py"),
            "SUPERSET_HOME": str(self._data),
            "SUPERSET_METADATA_URI": f"sqlite:///{self._data / 'superset.db'}",
            "SUPERSET_SECRET_KEY": settings.superset_secret_key,
            "SUPERSET_ADMIN_EMAIL": settings.superset_admin_email,
            "SUPERSET_PASSWORD": settings.superset_password,
            "SUPERSET_DATA_URI": warehouse_address(settings),
            "DBT_POSTGRES_SCHEMA": settings.dbt_postgres_schema,
        }

    def work_folder(self) -> Path:
        return self._data

    def ready(self) -> bool:
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}/login/", timeout=REQUEST_TIMEOUT)
        except requests.RequestException:
            return False
        return answer.status_code == 200

    def _install(self, say: Say) -> None:
        interpreter = python()
        if interpreter is None:
            raise ServiceError(
                self.name,
                f"Superset needs Python {' or '.join(SUPPORTED_PYTHON)}, and this machine has neither",
                hint="Install one of them, or start without it: --without superset",
            )
        say("installing Superset (once, 850 MB, a minute or two)")
        shutil.rmtree(self._venv.parent, ignore_errors=True)
        process.run([interpreter, "-m", "venv", self._venv], timeout=INSTALL_TIMEOUT)
        process.run(
            [
                self._venv / "bin" / "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                f"--requirement={SOURCES / 'requirements.txt'}",
            ],
            env={**inherited_environment(), **_download_environment()},
            timeout=INSTALL_TIMEOUT,
        )
        (self._venv / "complete").touch()

    def _state_of_provisioning(self) -> str:
        """Changes with whatever provisioning depends on; secrets only as part of a digest."""
        files = sorted(path for path in SOURCES.rglob("*") if path.suffix in (".py", ".yaml", ".txt"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
        digest.update(json.dumps(self.environment(), sort_keys=True).encode())
        return digest.hexdigest()


def warehouse_address(settings: Settings) -> str:
    """The models as the read-only role of the dashboards sees them, as SQLAlchemy writes an address.

    `search_path` is the schema of the models, so that queries of the dashboards need not name it.
    """
    endpoint = dbt_endpoint(settings)
    query = urlencode(
        {"sslmode": endpoint.sslmode, "options": f"-csearch_path={_quoted(settings.dbt_postgres_schema)}"},
        quote_via=quote,
    )
    role = quote(f"{settings.postgres_db}_superset", safe="")
    password = quote(settings.superset_db_password, safe="")
    database = quote(settings.postgres_db, safe="")
    return f"postgresql+psycopg2://{role}:{password}@{endpoint.host}:{endpoint.port}/{database}?{query}"


def _quoted(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _download_environment() -> dict[str, str]:
    """What of our environment pip needs to download anything: its own settings, proxies, certificates."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE"
    }
