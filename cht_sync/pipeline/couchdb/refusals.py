"""A refused login, remembered in a file for the commands that ask CouchDB a question and end.

CouchDB locks an account after six wrong passwords, so for five minutes none of them tries again, however
often it is called. A running pipeline has its own memory, in `login`.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec

from cht_sync.files import private_folder, write_atomically
from cht_sync.pipeline.couchdb.login import PAUSE

FILE = "couchdb-login-refused.json"


class _Refusal(msgspec.Struct):
    at: float
    login: str
    """A digest of address, user and password: with another password the pause is over."""


class RememberedRefusal:
    """What the file in `folder` says of one login."""

    def __init__(self, folder: Path, address: str, user: str, password: str) -> None:
        self._file = folder / FILE
        self._login = hashlib.sha256("\0".join((address, user, password)).encode()).hexdigest()

    def lasts(self) -> bool:
        """Whether this login was refused less than five minutes ago."""
        try:
            refusal = msgspec.json.decode(self._file.read_bytes(), type=_Refusal)
        except (FileNotFoundError, msgspec.DecodeError):
            return False
        return refusal.login == self._login and 0 <= time.time() - refusal.at < PAUSE

    def begin(self) -> None:
        """The login was refused just now."""
        private_folder(self._file.parent)
        write_atomically(self._file, msgspec.json.encode(_Refusal(time.time(), self._login)))
