"""A token opens nothing unless it was signed with our secret, by our algorithm, for us, for now."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import time

import jwt
import pytest
import trustme
from ingest.ingest_support import SECRET, Client, Installation, running, token, wait_until

DAY = 86_400


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(header: object, claims: object, *, secret: str = SECRET) -> str:
    """A token with whatever header, whose signature is always HS256."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"


def refused(ingest: Client, bearer: str) -> str:
    """The code; neither reading nor writing may do anything."""
    body = [{"_id": "forged", "_rev": "1-a", "doc": {}}]
    answers = [ingest.send("GET", "/docs", token=bearer), ingest.send("POST", "/docs", body, token=bearer)]
    assert {answer.status for answer in answers} == {401}
    assert all(SECRET not in answer.body.decode() for answer in answers)
    return answers[0].code


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None])
def test_an_unsigned_token_is_refused(ingest: Client, database: Installation, name: str | None) -> None:
    claims = {"role": database.ingest_role}
    for signature in ("", "AAAA", encoded(b"\0" * 32)):
        bearer = f"{encoded({'alg': name, 'typ': 'JWT'})}.{encoded(claims)}.{signature}"
        assert refused(ingest, bearer) == "PGRST301"
    assert refused(ingest, signed({"alg": name}, claims)) == "PGRST301"
    assert refused(ingest, signed({"typ": "JWT"}, claims)) == "PGRST301"


@pytest.mark.filterwarnings("ignore:The HMAC key")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_our_secret(
    ingest: Client, database: Installation, algorithm: str
) -> None:
    bearer = jwt.encode({"role": database.ingest_role}, SECRET, algorithm=algorithm)
    assert refused(ingest, bearer) == "PGRST301"


def test_an_asymmetric_signature_and_a_key_in_the_token_are_refused(
    ingest: Client, database: Installation
) -> None:
    key = trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes()
    claims = {"role": database.ingest_role}
    jwk = {"kty": "oct", "k": encoded(b"a key of the attacker's own, 32 bytes long")}
    for headers in ({}, {"jwk": jwk}, {"jku": "http://127.0.0.1:1/keys"}, {"kid": "../../dev/null"}):
        assert refused(ingest, jwt.encode(claims, key, algorithm="RS256", headers=headers)) == "PGRST301"
        forged = signed(
            {"alg": "HS256", **headers}, claims, secret="a key of the attacker's own, 32 bytes long"
        )
        assert refused(ingest, forged) == "PGRST301"
        empty = signed({"alg": "HS256", **headers}, claims, secret="")
        assert refused(ingest, empty) == "PGRST301"


def test_a_changed_token_is_refused(ingest: Client, database: Installation) -> None:
    header, claims, signature = token(database.ingest_role).split(".")
    other = encoded({"role": "postgres"})
    for bearer in (
        f"{header}.{other}.{signature}",
        f"{header}.{claims}.{signature[::-1]}",
        f"{header}.{claims}.",
    ):
        assert refused(ingest, bearer) == "PGRST301"


def test_an_expired_token_and_one_of_the_future_are_refused(ingest: Client, database: Installation) -> None:
    now = int(time.time())
    for claims in (
        {"exp": now - DAY},
        {"nbf": now + DAY},
        {"iat": now + DAY},
        {"exp": "never"},
        {"exp": True},
    ):
        assert refused(ingest, token(database.ingest_role, **claims)) == "PGRST303"


def test_a_token_for_another_audience_is_refused(database: Installation) -> None:
    with running(dataclasses.replace(database.config, jwt_audience="cht-sync")) as port:
        client = database.client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        for audience in ("other", ["other"], ["cht-sync-2", "cht"], 5, {"cht-sync": 1}):
            assert refused(client, token(database.ingest_role, aud=audience)) == "PGRST303"
        assert client.send("GET", "/docs", token=token(database.ingest_role, aud="cht-sync")).status == 200


def test_a_token_of_ours_makes_nobody_else_of_the_pipeline(ingest: Client, database: Installation) -> None:
    (owner,) = database.execute("select current_user")[0]
    for role in (
        owner,
        "pg_read_all_data",
        "postgres; reset role",
        f'{database.ingest_role}"; reset role; --',
    ):
        answer = ingest.send("GET", "/docs", token=token(role))
        assert answer.status in (400, 401, 403), answer
    assert database.execute("select count(*) from v1.docs where _id = 'forged'") == [(0,)]
