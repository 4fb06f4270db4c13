"""TLS as the options `ssl_*` describe it; certificates are files in PEM form."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

VERSIONS = {
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""The values of `ssl_supported_protocols`, oldest first."""


@dataclass(frozen=True)
class Tls:
    """Whom to trust, and who we are. Without `authorities` those of the machine and of certifi count."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verifies: bool = True
    protocols: tuple[str, ...] = ()

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises ValueError where one of them is not what it should be."""
        context = ssl.create_default_context()
        if self.authorities is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load(self.authorities, lambda: context.load_verify_locations(self.authorities))
        else:
            context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        if not self.verifies:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            certificate, key = self.certificate, self.key
            # The password is never asked for at the terminal.
            _load(certificate, lambda: context.load_cert_chain(certificate, key, password=lambda: ""))
        versions = [version for name, version in VERSIONS.items() if name in self.protocols]
        if versions:
            context.minimum_version, context.maximum_version = versions[0], versions[-1]
        return context

    def apply(self, session: requests.Session) -> None:
        """Make a session use this. Raises ValueError."""
        session.mount("https://", _Adapter(self.context()))
        if not self.verifies:
            session.verify = False
        elif self.authorities is not None:
            session.verify = str(self.authorities)


def check_protocols(names: Sequence[str]) -> None:
    """Refuse a list with a gap, which cannot be set any more. Raises ValueError."""
    if "TLSv1.1" in names and "TLSv1.3" in names and "TLSv1.2" not in names:
        raise ValueError("TLSv1.1 and TLSv1.3 without TLSv1.2 cannot be had; add TLSv1.2")


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._context, **options)


def _load(path: Path, load: Any) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise ValueError(
            f"{str(path)!r} cannot be used, a PEM file is needed: {error.reason or error}"
        ) from None
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
