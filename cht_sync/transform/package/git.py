"""A package in a git repository, got by the git program: shallow, without a work tree, hooks or submodules.

The token is in the environment of git alone: neither in its arguments nor in a file.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.transform.package.address import Address
from cht_sync.transform.package.unpack import unpack

COMMIT = re.compile(r"[0-9a-f]{40}")
LOOK_TIMEOUT = 60.0
"""Seconds until a server that does not say which commit is newest is given up."""
FETCH_TIMEOUT = 600.0


class GitSource:
    """A repository at a branch, a tag or a commit."""

    def __init__(self, address: Address, token: str) -> None:
        self._address = address
        self._url = address.location if address.is_remote else f"file://{quote(address.location)}"
        self._environment = git_environment(address, token, protocols=urlsplit(self._url).scheme)

    def newest(self) -> str:
        """Return the commit, 40 hex digits, that the revision means now. Raises ChtSyncError."""
        revision = self._address.revision
        if COMMIT.fullmatch(revision):
            return revision
        wanted = (
            [f"refs/heads/{revision}", f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}"]
            if revision
            else ["HEAD"]
        )
        said = self._git(["ls-remote", "--", self._url, *wanted], timeout=LOOK_TIMEOUT)
        found = {name: commit for commit, _, name in (line.partition("\t") for line in said.splitlines())}
        for name in wanted:
            if COMMIT.fullmatch(found.get(name, "")):
                return found[name]
        raise ChtSyncError(
            f"it has no branch and no tag {revision!r}" if revision else "it has no default branch",
            hint="A commit is named by all of its 40 digits." if revision else None,
        )

    def fetch(self, commit: str, into: Path) -> None:
        """Put the files of a commit into the folder `into`, which is made. Raises ChtSyncError."""
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".git-") as work:
            repository = Path(work, "repository")
            self._git(["init", "--quiet", "--bare", "--template=", repository])
            at: list[str | Path] = ["-C", repository]
            try:
                self._git([*at, "fetch", "--quiet", "--no-tags", "--depth=1", "--", self._url, commit])
            except ChtSyncError:
                # A server may give neither single commits nor a part of the history.
                everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
                self._git([*at, "fetch", "--quiet", "--no-tags", "--", self._url, *everything])
            attributes = repository / "info" / "attributes"
            attributes.parent.mkdir(exist_ok=True)
            attributes.write_text("* -export-ignore -export-subst\n")
            archive = Path(work, "archive.tar")
            self._git([*at, "archive", "--format=tar", f"--output={archive}", commit])
            unpack(archive, into)

    def _git(self, words: list[str | Path], *, timeout: float = FETCH_TIMEOUT) -> str:
        if shutil.which("git") is None:
            raise ChtSyncError("git is not installed", hint="apt-get install git")
        try:
            return process.run(["git", *words], env=self._environment, timeout=timeout)
        except ChtSyncError as error:
            raise ChtSyncError(_reason(error.message), hint=_hint(error.message)) from error


def git_environment(address: Address, token: str, *, protocols: str) -> dict[str, str]:
    """The environment of a git that asks nobody, runs no hooks, and knows the token for one host only.

    `protocols` are those that it may use, separated by colons. What the operator configured of git,
    such as a proxy, stays.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_SSL_CA")
    }
    settings = [("core.hooksPath", os.devnull), ("credential.helper", "")]
    if token and address.is_remote:
        parts = urlsplit(address.location)
        host = f"http.{parts.scheme}://{parts.netloc}/"
        settings += [
            (f"{host}.extraHeader", f"Authorization: Basic {_basic(token)}"),
            # The header would follow to wherever a redirection leads.
            (f"{host}.followRedirects", "false"),
        ]
    return {
        **kept,
        **_as_variables(settings),
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "30",
        "LC_ALL": "C",
    }


def _basic(token: str) -> str:
    """What servers of git take: a token with any user's name, or `user:password`."""
    return base64.b64encode((token if ":" in token else f"x-access-token:{token}").encode()).decode()


def _as_variables(settings: list[tuple[str, str]]) -> Mapping[str, str]:
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def _reason(message: str) -> str:
    lines = [line.strip() for line in message.splitlines()]
    told = [line for line in lines if line.startswith(("fatal:", "remote:", "error:"))] or lines
    return " ".join(line.removeprefix("fatal: ") for line in told)


def _hint(message: str) -> str | None:
    if any(
        sign in message
        for sign in ("could not read Username", "Authentication failed", "not found", "401", "403", "404")
    ):
        return "Is it private? Then CHT_PIPELINE_TOKEN must be a token that may read it."
    if "error: 30" in message:
        return "It has moved: give its new address."
    return None
