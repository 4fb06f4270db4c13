"""The verifiers that we make are those that libpq makes."""

from __future__ import annotations

from base64 import b64decode
from contextlib import closing

import psycopg2
import pytest
from postgres_fixture import PostgresServer
from psycopg2.extensions import encrypt_password

from cht_sync.warehouse.scram import verifier

PASSWORDS = (
    "swordfish",
    "it's a \\ long $one$",
    "größer",
    "a\u00a0b\u2003c",
    "so\u00adft",
    "\u2163 and \ufb01",
    "\u00ad",
    "be\u0007ll",
    "\u0627\u0628",
    "\u0627a",
    "\u0627 1",
    "\U0001f40d",
    "e\u0301",
)


@pytest.mark.parametrize("password", PASSWORDS, ids=ascii)
def test_it_is_the_one_of_libpq(postgres_server: PostgresServer, password: str) -> None:
    with closing(psycopg2.connect(postgres_server.dsn())) as connection:
        theirs = encrypt_password(password, "anybody", connection, "scram-sha-256")
    salt = b64decode(theirs.split(":")[1].split("$")[0])
    assert verifier(password, salt) == theirs


def test_two_of_a_password_differ() -> None:
    assert verifier("swordfish") != verifier("swordfish")
