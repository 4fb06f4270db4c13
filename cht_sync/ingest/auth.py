"""Who asks: a bearer token becomes the database role that the request runs as."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from jwt.api_jws import PyJWS

from cht_sync.ingest.errors import ApiError

ALGORITHM = "HS256"
KNOWN_ALGORITHMS = (
    *(f"{family}{bits}" for family in ("HS", "RS", "ES") for bits in (256, 384, 512)),
    "EdDSA",
)
"""A token that names one of these is well formed, although no key here can check it."""
UNREADABLE = "JWT cryptographic operation failed"
"""What PostgREST says of a token whose parts cannot be read."""
TOKENS_REMEMBERED = 64
CLOCK_SKEW = 30
"""Seconds that clocks may differ, as in PostgREST."""
LARGEST_TIME = 2**63


@dataclass(frozen=True)
class Identity:
    """The role to act as, its claims as JSON text for `request.jwt.claims`, and whether a token named it."""

    role: str
    claims: str
    authenticated: bool


class Authenticator:
    """Checks the `Authorization` header against one HS256 secret."""

    def __init__(self, secret: str | None, *, audience: str | None, anon_role: str | None) -> None:
        self._secret = secret
        self._audience = audience
        self._anon_role = anon_role
        self._jws = PyJWS(algorithms=[ALGORITHM])
        # A client sends the same token with every request; only its times must be looked at again.
        self._verified = lru_cache(maxsize=TOKENS_REMEMBERED)(self._payload)

    def identify(self, header: str | None) -> Identity:
        """Return who sent a request with this `Authorization` header (None: there was none).

        Another scheme than Bearer is as good as none. Raises ApiError 401 (PGRST301 a token that
        cannot be decoded, PGRST302 anonymous access is off, PGRST303 its claims) or 500 (PGRST300
        no secret is configured).
        """
        # Two headers of the name arrive joined by a comma; the first one counts.
        scheme, _, token = (header or "").partition(",")[0].strip().partition(" ")
        claims = self._claims(token.strip()) if scheme.lower() == "bearer" else {}
        if "role" in claims:
            role = claims["role"]
            name = role if isinstance(role, str) else _json(role)
            return Identity(name, _json({**claims, "role": name}), authenticated=name != self._anon_role)
        if self._anon_role is None:
            raise ApiError(
                401,
                "PGRST302",
                "Anonymous access is disabled",
                headers=[("WWW-Authenticate", "Bearer")],
            )
        return Identity(self._anon_role, _json({**claims, "role": self._anon_role}), authenticated=False)

    def _claims(self, token: str) -> dict[str, Any]:
        if self._secret is None:
            raise ApiError(500, "PGRST300", "Server lacks JWT secret")
        try:
            claims = json.loads(self._verified(token, self._secret))
        except ValueError:
            claims = None
        if not isinstance(claims, dict):
            raise _refused("PGRST303", "Parsing claims failed")
        self._check(claims, time.time())
        return claims

    def _payload(self, token: str, secret: str) -> bytes:
        """Return what the token signs."""
        if not token:
            raise _refused("PGRST301", "Empty JWT is sent in Authorization header")
        parts = token.count(".") + 1
        if parts != 3:
            raise _refused("PGRST301", f"Expected 3 parts in JWT; got {parts}")
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            if algorithm == "none":
                raise _refused(
                    "PGRST301",
                    "Wrong or unsupported encoding algorithm",
                    "JWT is unsecured but expected 'alg' was not 'none'",
                )
            if algorithm not in KNOWN_ALGORITHMS:
                raise _refused("PGRST301", UNREADABLE)
            if algorithm != ALGORITHM:
                raise _refused(
                    "PGRST301",
                    "No suitable key or wrong key type",
                    "No suitable key was found to decode the JWT",
                )
            payload: bytes = self._jws.decode(token, secret, algorithms=[ALGORITHM])
        except jwt.InvalidSignatureError as error:
            raise _refused(
                "PGRST301",
                "No suitable key or wrong key type",
                "None of the keys was able to decode the JWT",
            ) from error
        except jwt.InvalidTokenError as error:
            raise _refused("PGRST301", UNREADABLE) from error
        return payload

    def _check(self, claims: dict[str, Any], now: float) -> None:
        for name, ahead, message in (
            ("exp", -1, "JWT expired"),
            ("nbf", 1, "JWT not yet valid"),
            ("iat", 1, "JWT issued at future"),
        ):
            at = claims.get(name)
            if at is None:
                continue
            if isinstance(at, bool) or not isinstance(at, int | float):
                raise _refused("PGRST303", f"The JWT '{name}' claim must be a number")
            # A time that is no whole number counts as long ago, as in PostgREST.
            whole = int(at) if at == at // 1 and abs(at) < LARGEST_TIME else 0
            if ahead * (whole - int(now)) > CLOCK_SKEW:
                raise _refused("PGRST303", message)
        audience = claims.get("aud")
        if audience is None:
            return
        accepted = audience if isinstance(audience, list) else [audience]
        if not all(isinstance(one, str) for one in accepted):
            raise _refused("PGRST303", "The JWT 'aud' claim must be a string or an array of strings")
        # An empty list is for everybody.
        if accepted and self._audience is not None and self._audience not in accepted:
            raise _refused("PGRST303", "JWT not in audience")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refused(code: str, message: str, details: str | None = None) -> ApiError:
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return ApiError(401, code, message, details=details, headers=[("WWW-Authenticate", challenge)])
