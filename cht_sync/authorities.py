"""The certificate authorities of private servers, and why a server's certificate is refused.

Verification is never off: a server whose authority is not one of the public ones is trusted by naming its
authority's file. Source of the codes: OpenSSL, x509_vfy.h.
"""

from __future__ import annotations

import ssl
from pathlib import Path

EXPIRED, NOT_YET_VALID = 10, 9
OTHER_NAME = frozenset({62, 64})


def problem_of(file: Path) -> str | None:
    """Why a file is none of PEM certificates; None where it is one."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return "holds no PEM certificate"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def refusal(error: BaseException, *, file: str, host: str) -> tuple[str, str] | None:
    """Why TLS failed and what to do; None where something else did.

    `file` is what names the authority's file, `host` what names the server.
    """
    found = _of_tls(error)
    if found is None:
        return None
    if not isinstance(found, ssl.SSLCertVerificationError):
        return f"no TLS: {found.reason or found}", "Does it speak https on this port?"
    why = f"its certificate is refused: {found.verify_message.rstrip('.')}"
    if found.verify_code in (EXPIRED, NOT_YET_VALID):
        return why, "Renew the server's certificate (or is this machine's clock wrong?)."
    if found.verify_code in OTHER_NAME:
        return why, f"Give {host} a name that is in the certificate."
    return why, f"Name the PEM file of the authority that has signed it: {file}."


def _of_tls(error: BaseException) -> ssl.SSLError | None:
    """The error of the TLS library inside of an HTTP library's."""
    seen: list[BaseException] = [error]
    for one in seen:
        if isinstance(one, ssl.SSLError):
            return one
        inner = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        seen += [found for found in inner if isinstance(found, BaseException) and found not in seen]
    return None
