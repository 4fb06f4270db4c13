"""A harmless question to a PostgREST, put as the pipelines ask: secret, role and schema are proven too."""

from __future__ import annotations

import requests

from cht_sync.settings import Settings
from cht_sync.tokens import make_token

TIMEOUT = 5.0
"""Seconds for an answer."""
QUESTION = "/couchdb_progress?limit=1"


def place_of(settings: Settings) -> str:
    """The host:port[/path] that the pipelines write to."""
    return settings.http_endpoint or f"127.0.0.1:{settings.postgrest_port}"


def speaks_https(settings: Settings) -> bool:
    """Whether the pipelines write by https."""
    return bool(settings.http_endpoint) and settings.http_endpoint_secure


def url_of(settings: Settings) -> str:
    """The same place as an address."""
    return f"{'https' if speaks_https(settings) else 'http'}://{place_of(settings)}"


def ask(url: str, settings: Settings) -> requests.Response:
    """Return the answer to the pipelines' token. Raises requests.RequestException."""
    token = make_token(settings.pgrst_jwt_secret, settings.ingest_role)
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment is not for the pipelines, nor is ~/.netrc
        session.verify = settings.http_endpoint_ca_file or True
        return session.get(
            f"{url.rstrip('/')}{QUESTION}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            allow_redirects=False,
        )
