"""Logins reach CouchDB as it reads them."""

from __future__ import annotations

import base64

import pytest
import requests

from cht_sync.logins import basic


@pytest.mark.parametrize(("user", "password"), [("reader", "pässwörd"), ("użytkownik", "hasło")])
def test_a_login_beyond_ascii_is_sent_as_utf_8(user: str, password: str) -> None:
    request = requests.Request("GET", "http://127.0.0.1/", auth=basic(user, password)).prepare()
    told = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
    assert told == f"{user}:{password}".encode()
