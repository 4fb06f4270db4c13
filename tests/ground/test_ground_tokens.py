"""Tokens carry the role, are signed with the secret, and are renewed before they end."""

from __future__ import annotations

import time

import jwt
import pytest

from cht_sync import tokens

SECRET = "a secret of at least thirty-two bytes"


def claims(token: str, *, secret: str = SECRET) -> dict[str, object]:
    decoded: dict[str, object] = jwt.decode(token, secret, algorithms=["HS256"])
    return decoded


def test_a_token_carries_the_role_and_ends_after_its_lifetime() -> None:
    found = claims(tokens.make_token(SECRET, "data_ingest", lifetime=600))
    assert found["role"] == "data_ingest"
    assert isinstance(found["iat"], int)
    assert found["exp"] == found["iat"] + 600


def test_a_token_signed_with_another_secret_is_refused() -> None:
    with pytest.raises(jwt.InvalidSignatureError):
        claims(tokens.make_token(SECRET, "data_ingest"), secret=SECRET[::-1])


def test_a_token_is_used_again_until_shortly_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    source = tokens.TokenSource(SECRET, "data_ingest")
    first = source.token()
    now += tokens.SHORT_LIFE - tokens.SMALLEST_REMAINDER
    assert source.token() == first
    now += 1
    second = source.token()
    assert second != first
    assert jwt.decode(second, options={"verify_signature": False})["exp"] == int(now) + tokens.SHORT_LIFE


def test_a_refused_token_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    source = tokens.TokenSource(SECRET, "data_ingest")
    first = source.token()
    now += 2
    source.renew()
    assert source.token() != first
