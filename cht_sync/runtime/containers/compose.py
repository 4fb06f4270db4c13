"""The door to the `docker compose` plugin: which files, which settings, and what it said when it failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from cht_sync import process
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.settings import CHECKOUT, declared

OLDEST = (2, 20)
"""The first that knows `required: false` in depends_on."""
SETTINGS_FILE = "compose.env"
VERSION_TIMEOUT = 20.0
REMEDY = "Install docker-compose-plugin (Docker's own packages) or docker-compose-v2 (Ubuntu's)."


def version() -> str:
    """Return the plugin's version. Raises ChtSyncError where there is none, or an older one."""
    try:
        said = process.run(["docker", "compose", "version", "--short"], timeout=VERSION_TIMEOUT)
    except ChtSyncError as error:
        missing = "not found" in error.message or "is not a docker command" in error.message
        what = "Docker has no compose plugin" if missing else f"docker compose: {error.message}"
        raise ChtSyncError(what, hint=REMEDY) from error
    number = re.match(r"v?(\d+)\.(\d+)", said.strip())
    if number is None or (int(number[1]), int(number[2])) < OLDEST:
        oldest = ".".join(str(part) for part in OLDEST)
        raise ChtSyncError(f"docker compose {said.strip()} is older than {oldest}", hint=REMEDY)
    return said.strip()


def files(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The compose files: those of COMPOSE_FILE, else ours and, beside it, docker-compose.override.yml."""
    if given := environ.get("COMPOSE_FILE"):
        separator = environ.get("COMPOSE_PATH_SEPARATOR", os.pathsep)
        return [str(Path(name).resolve()) for name in given.split(separator)]
    found = [CHECKOUT / "docker-compose.yml", CHECKOUT / "docker-compose.override.yml"]
    return [str(file) for file in found if file.exists()]


class Compose:
    """The commands of one project. `folder` holds its settings for Compose and takes its log."""

    def __init__(self, project: str, environment: Environment, files: Sequence[str], folder: Path) -> None:
        self.project = project
        self._environment = environment
        self._files = list(files)
        self._folder = folder
        self.log = folder / "compose.log"

    def words(self, *arguments: str) -> list[str]:
        """A whole command line."""
        named = [word for file in self._files for word in ("--file", file)]
        return [
            *("docker", "compose", "--ansi", "never", "--project-name", self.project),
            *("--project-directory", str(CHECKOUT), "--env-file", str(self._folder / SETTINGS_FILE)),
            *(*named, "--profile", self._environment.value, *arguments),
        ]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command; what it says goes to `log`, which begins anew."""
        self.log.unlink(missing_ok=True)
        return process.start(self.words(*arguments), log=self.log, env=_environment(), cwd=CHECKOUT)

    def run(self, *arguments: str, timeout: float) -> str:
        """Run a command to its end and return what it printed. Raises ChtSyncError."""
        return process.run(self.words(*arguments), env=_environment(), cwd=CHECKOUT, timeout=timeout)

    def become(self, *arguments: str) -> NoReturn:
        """Become this command: terminal, signals and exit code are its own. Raises ChtSyncError."""
        words = self.words(*arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        # Python ignores it, and what we become would, too.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(CHECKOUT)
        try:
            os.execvpe(words[0], words, _environment())  # noqa: S606 (the words are ours)
        except OSError as error:
            raise ChtSyncError(f"{words[0]}: {error.strerror}") from error

    def child(self, words: Sequence[str], *, new_session: bool) -> subprocess.Popen[bytes]:
        """Start a command with our streams; in a session of its own no terminal signals it."""
        return subprocess.Popen(
            self.words(*words), env=_environment(), cwd=CHECKOUT, start_new_session=new_session
        )

    def tool(
        self,
        service: str,
        *arguments: str,
        name: str | None = None,
        terminal: bool = False,
        options: Sequence[str] = (),
    ) -> list[str]:
        """The words for `words` that run one command in a new container of a service."""
        named = [] if name is None else ["--name", name]
        streams = [] if terminal else ["--no-TTY"]
        return ["run", "--rm", "--no-deps", *named, *streams, *options, service, *arguments]


def _environment() -> dict[str, str]:
    """Ours without the settings: Compose would prefer them to the file, where they have been checked."""
    settings = {name for name, _variable in declared()}
    own = ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "CHT_SYNC_SETTINGS", "CHT_SYNC_WITHOUT")
    return {name: value for name, value in os.environ.items() if name not in settings and name not in own}
