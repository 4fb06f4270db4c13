"""Passwords as PostgreSQL keeps them: SCRAM-SHA-256 verifiers, from which no password can be read.

Sources: RFC 5802, RFC 7677, RFC 4013; PostgreSQL's documentation of pg_authid.rolpassword, and its
src/common/saslprep.c for what becomes of a password that SASLprep refuses.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from base64 import b64encode

ITERATIONS = 4096
"""PostgreSQL's own number."""
SALT_BYTES = 16
PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def verifier(password: str, salt: bytes | None = None) -> str:
    """Return what `alter role ... password` takes instead of the password."""
    salt = salt or secrets.token_bytes(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(server)}"


def _prepared(password: str) -> str:
    """As SASLprep wants it; as it is where that refuses it, which is what PostgreSQL's own clients do."""
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(one) else one for one in password if not stringprep.in_table_b1(one)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(is_in(one) for one in prepared for is_in in PROHIBITED):
        return password
    if any(stringprep.in_table_d1(one) for one in prepared):
        ends = all(stringprep.in_table_d1(one) for one in (prepared[0], prepared[-1]))
        if not ends or any(stringprep.in_table_d2(one) for one in prepared):
            return password
    return prepared


def _text(value: bytes) -> str:
    return b64encode(value).decode()
