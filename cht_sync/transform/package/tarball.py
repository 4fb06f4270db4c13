"""A package in a tarball, of this machine or got by https."""

from __future__ import annotations

import base64
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from cht_sync.errors import ChtSyncError
from cht_sync.transform.package.address import Address
from cht_sync.transform.package.unpack import unpack

MOST_DOWNLOADED = 200_000_000
"""Bytes of a tarball, compressed."""
TIMEOUT = 30.0
"""Seconds without an answer, or without any byte of it."""
CHUNK = 65_536


class _Session(requests.Session):
    """Sends what the address is sent to no other host: neither a token nor a password of ~/.netrc."""

    def __init__(self, *, may_leave: bool) -> None:
        super().__init__()
        self._may_leave = may_leave

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        before, after = response.request.url or "", prepared_request.url or ""
        if not self._may_leave and self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            raise ChtSyncError(
                f"the server leads on to another host, {urlsplit(after).netloc}: the token must not go there",
                hint="Give an address that leads to no other host, or no token where none is needed.",
            )


class TarballSource:
    """A tarball; its version is the SHA-256 of its bytes.

    A server that gives an ETag or a time of change is asked for what is newer only; of any other the
    tarball is downloaded at every look. What was downloaded is kept in `folder` until it is fetched.
    """

    def __init__(self, address: Address, token: str, folder: Path) -> None:
        self._address = address
        self._token = token
        self._downloaded = folder / "downloaded.tar.gz"
        self._known: tuple[str, dict[str, str]] | None = None

    def newest(self) -> str:
        """Return the SHA-256 of the tarball as it is now, in hex digits. Raises ChtSyncError."""
        if not self._address.is_remote:
            try:
                with self._address.path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ChtSyncError(f"it cannot be read: {error.strerror}") from error
        try:
            return self._download()
        except requests.RequestException as error:
            raise ChtSyncError(f"it cannot be downloaded: {_reason(error)}") from error

    def fetch(self, version: str, into: Path) -> None:
        """Unpack the tarball into the folder `into`, which is made. Raises ChtSyncError."""
        archive = self._downloaded if self._address.is_remote else self._address.path
        if not archive.exists():
            self._known = None
            if self.newest() != version:
                raise ChtSyncError("it changed while it was fetched")
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".tar-") as work:
            unpacked = Path(work, "unpacked")
            unpack(archive, unpacked)
            shutil.move(_root(unpacked), into)
        if self._address.is_remote:
            self._downloaded.unlink()

    def _download(self) -> str:
        newer = self._known[1] if self._known else {}
        with self._answer(newer) as answer:
            if self._address.location.startswith("https:") and not answer.url.startswith("https:"):
                raise ChtSyncError("the server leads on to an address without https")
            if answer.status_code == requests.codes.not_modified and self._known:
                return self._known[0]
            if answer.status_code != requests.codes.ok:
                raise ChtSyncError(
                    f"the server answered {answer.status_code}", hint=_hint(answer.status_code)
                )
            digest = hashlib.sha256()
            size = 0
            with self._downloaded.open("wb") as file:
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    size += len(chunk)
                    if size > MOST_DOWNLOADED:
                        raise ChtSyncError(f"it is larger than {MOST_DOWNLOADED // 1_000_000} MB")
                    digest.update(chunk)
                    file.write(chunk)
            self._known = digest.hexdigest(), _conditions(answer)
        return self._known[0]

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[requests.Response]:
        # A function as auth: else a password of ~/.netrc would be sent.
        with (
            _Session(may_leave=not self._token) as session,
            session.get(
                self._address.location,
                headers={"Accept-Encoding": "identity", **headers},
                auth=self._authorize,
                stream=True,
                timeout=TIMEOUT,
            ) as answer,
        ):
            yield answer

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if ":" in self._token:
            request.headers["Authorization"] = "Basic " + base64.b64encode(self._token.encode()).decode()
        elif self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _conditions(answer: requests.Response) -> dict[str, str]:
    """What makes the next request one for what is newer."""
    asked = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
    return {name: answer.headers[given] for name, given in asked.items() if given in answer.headers}


def _root(unpacked: Path) -> Path:
    """The project's folder: the archive's root, or the one folder that the archive consists of."""
    inside = list(unpacked.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink() else unpacked


def _reason(error: requests.RequestException) -> str:
    # Not the library's own text: that holds the address with its query.
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return str(cause) or type(error).__name__


def _hint(status: int) -> str | None:
    if status in (401, 403, 404):
        return "Is it private? Then CHT_PIPELINE_TOKEN must be a token that may read it."
    return None
