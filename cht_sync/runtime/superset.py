"""Superset in a virtual environment of its own, with the dashboards that come with cht-sync.

It wants other versions of common packages than everything else here, and those of
`superset/requirements.txt` together: the newest ones do not start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import requests

from cht_sync import process
from cht_sync.errors import ChtSyncError, ServiceError
from cht_sync.files import private_folder, write_atomically
from cht_sync.runtime.service import Say, Service, inherited_environment
from cht_sync.settings import CHECKOUT, Settings
from cht_sync.warehouse.connection import dbt_endpoint

log = logging.getLogger(__name__)

SOURCES = CHECKOUT / "superset"
SUPPORTED_PYTHON = ("3.11", "3.12")
"""Those for which there are wheels of all these versions."""
INSTALL_TIMEOUT = 1800.0
PROVISION_TIMEOUT = 300.0
REQUEST_TIMEOUT = 5.0
UNFINISHED = (": left out for now:", ": cannot be brought in:")
"""What provisioning says of dashboards without their tables, and of files that Superset does not take."""
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
        self._database = self._data / "superset.db"

    def prepare(self, say: Say) -> None:
        """Install once for each set of versions; then bring its database and the dashboards up to date."""
        private_folder(self._data)
        if not (self._venv / "complete").exists():
            self._install(say)
        wanted = self._state_of_provisioning()
        marker = self._data / "provisioned"
        if not self._database.exists() or not marker.exists() or marker.read_text() != wanted:
            say("preparing its database and the dashboards")
            lines = self.provision("start")
            unfinished = [line for line in lines if any(text in line for text in UNFINISHED)]
            for line in lines:
                log.log(logging.WARNING if line in unfinished else logging.INFO, "superset: %s", line)
            if unfinished:
                marker.unlink(missing_ok=True)
            else:
                write_atomically(marker, wanted)

    def provision(self, *words: str) -> list[str]:
        """Run `superset/provision`; return its lines. Raises ChtSyncError."""
        output = process.run(
            [self._venv / "bin" / "python", SOURCES / "provision", *words],
            env={**inherited_environment(), **self._provisioning_environment()},
            cwd=self._data,
            timeout=PROVISION_TIMEOUT,
        )
        return output.splitlines()

    def command(self) -> list[str]:
        # Not the script of that name: it holds the folder's place of the day of the installation.
        return [
            str(self._venv / "bin" / "python"),
            "-m",
            "gunicorn",
            f"--bind=127.0.0.1:{self.port}",
            f"--workers={WORKERS}",
            f"--threads={THREADS}",
            "--worker-class=gthread",
            "--timeout=120",
            f"--worker-tmp-dir={self._data}",
            "superset.app:create_app()",
        ]

    def environment(self) -> Mapping[str, str]:
        return {
            "FLASK_APP": "superset.app:create_app()",
            "TZ": "UTC",
            "SUPERSET_CONFIG_PATH": str(SOURCES / "superset_config.py"),
            "SUPERSET_HOME": str(self._data),
            "SUPERSET_METADATA_URI": f"sqlite:///{self._database}",
            **server_variables(self._settings),
        }

    def work_folder(self) -> Path:
        return self._data

    def ready(self) -> bool:
        # The page that people see first: it needs the database, as /health does not.
        return _refusal(f"127.0.0.1:{self.port}", "/login/") is None

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
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--retries=2"]
        try:
            process.run([interpreter, "-m", "venv", self._venv], timeout=INSTALL_TIMEOUT)
            process.run(
                [self._venv / "bin" / "python", *pip, f"--requirement={SOURCES / 'requirements.txt'}"],
                env={**inherited_environment(), **_download_environment()},
                timeout=INSTALL_TIMEOUT,
            )
        except ChtSyncError as error:
            raise ServiceError(
                self.name,
                f"cannot be installed: {error.message.splitlines()[-1]}",
                hint="pip needs the network (PIP_INDEX_URL, HTTPS_PROXY) and 850 MB of disk. "
                "Without dashboards: --without superset",
            ) from error
        (self._venv / "complete").touch()

    def _provisioning_environment(self) -> Mapping[str, str]:
        """What only provisioning needs to know; the server itself reads the rest from its database."""
        return {**self.environment(), **provisioning_variables(self._settings)}

    def _state_of_provisioning(self) -> str:
        """Changes with whatever provisioning depends on; secrets only as part of a digest."""
        files = sorted(path for path in SOURCES.rglob("*") if path.suffix in (".py", ".yaml", ".txt"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
        digest.update(json.dumps(self._provisioning_environment(), sort_keys=True).encode())
        return digest.hexdigest()


def server_variables(settings: Settings) -> dict[str, str]:
    """What `superset_config.py` reads of the settings."""
    return {
        "SUPERSET_SECRET_KEY": settings.superset_secret_key,
        "SUPERSET_MAP_TILES": settings.superset_map_tiles,
        "SUPERSET_BEHIND_TLS": str(settings.superset_behind_tls).lower(),
    }


def provisioning_variables(settings: Settings) -> dict[str, str]:
    """What `superset/provision` reads beside the variables of the server itself."""
    endpoint = dbt_endpoint(settings)
    return {
        "SUPERSET_ADMIN_EMAIL": settings.superset_admin_email,
        "SUPERSET_PASSWORD": settings.superset_password,
        "SUPERSET_DB_PASSWORD": settings.superset_db_password,
        "POSTGRES_HOST": endpoint.host,
        "POSTGRES_PORT": str(endpoint.port),
        "POSTGRES_SSLMODE": endpoint.sslmode,
        "POSTGRES_SSLROOTCERT": endpoint.sslrootcert,
        "POSTGRES_DB": settings.postgres_db,
        "DBT_POSTGRES_SCHEMA": settings.dbt_postgres_schema,
    }


def superset_problems(place: str) -> list[str]:
    """What `status` says of a Superset at host:port that does not answer; nothing where it does."""
    refusal = _refusal(place, "/health")
    return [] if refusal is None else [f"superset: does not answer at {place} ({refusal})"]


def _refusal(place: str, path: str) -> str | None:
    """Why a page cannot be had; None where it can."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment is not for this machine
            answer = session.get(f"http://{place}{path}", timeout=REQUEST_TIMEOUT)
    except requests.RequestException as error:
        return type(error).__name__
    return None if answer.status_code == 200 else f"HTTP {answer.status_code}"


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _download_environment() -> dict[str, str]:
    """What of our environment pip needs to download anything: its own settings, proxies, certificates."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE"
    }
