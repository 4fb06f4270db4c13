"""PostgREST: whether it is there, and takes the pipelines' token."""

from __future__ import annotations

import time
from typing import Any

import requests

from cht_sync import authorities
from cht_sync.runtime import postgrest_access
from cht_sync.runtime.couchdb_access import seconds_ahead
from cht_sync.runtime.doctor import clock
from cht_sync.runtime.doctor.finding import Check, Finding, Findings, failed, ok, skipped
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.runtime.protocols import Protocol, spoken
from cht_sync.settings import Settings

GROUP = "PostgREST"
SETTINGS = ("HTTP_ENDPOINT", "HTTP_ENDPOINT_SECURE", "PGRST_JWT_SECRET", "POSTGREST_PORT", "POSTGRES_DB")
WRONG_KEY, WRONG_CLAIM = "PGRST301", "PGRST303"
NO_TABLE = ("PGRST106", "PGRST205", "42P01", "3F000")
NO_RIGHT = "42501"
WRONG_PATH = "PGRST125"
UNAUTHORIZED, UNAVAILABLE = 401, 503


def _answers(situation: Situation) -> Findings:
    place = postgrest_access.url_of(situation.given)
    if _is_ours_and_rests(situation):
        yield skipped("postgrest is not running")
        return
    try:
        answer = postgrest_access.ask(place, situation.given)
    except requests.RequestException as error:
        yield _no_answer(situation.given, error)
        return
    if not _is_postgrest(answer):
        yield failed(
            f"what answers at {place} is not PostgREST (HTTP {answer.status_code})", "Correct HTTP_ENDPOINT"
        )
    elif answer.status_code == UNAVAILABLE:
        yield failed(
            f"PostgREST at {place} has no PostgreSQL: {_said(answer).get('message')}",
            "See: cht-sync logs postgrest. Its role logs in with PGRST_DB_PASSWORD",
        )
    else:
        yield ok(f"answers at {place}")


def _token(situation: Situation) -> Findings:
    settings = situation.given
    place = postgrest_access.url_of(settings)
    try:
        answer = postgrest_access.ask(place, settings)
    except requests.RequestException as error:
        yield _no_answer(situation.given, error)
        return
    if answer.status_code == requests.codes.ok:
        yield ok("takes a token of PGRST_JWT_SECRET")
        return
    said = _said(answer)
    code, message = str(said.get("code")), " ".join(str(said.get("message")).split())[:200]
    yield failed(f"PostgREST at {place} refuses the pipelines: {message} ({code})", _remedy(code, situation))


def _clock(situation: Situation) -> Findings:
    place = postgrest_access.url_of(situation.given)
    before = time.time()
    try:
        answer = postgrest_access.ask(place, situation.given)
    except requests.RequestException as error:
        yield _no_answer(situation.given, error)
        return
    yield clock.judged("PostgREST", seconds_ahead(answer, before))


def _remedy(code: str, situation: Situation) -> str:
    if code == WRONG_KEY:
        return "Give PostgREST and the pipelines the same PGRST_JWT_SECRET, then start both again"
    if code == WRONG_CLAIM:
        return clock.REMEDY
    if code in NO_TABLE or code == NO_RIGHT:
        return f"Make it: cht-sync init-db{situation.env}; or correct HTTP_ENDPOINT, if it serves another one"
    if code == WRONG_PATH:
        return "Correct HTTP_ENDPOINT: what follows host:port is not a path of this PostgREST"
    return "See: cht-sync logs postgrest"


def _no_answer(settings: Settings, error: Exception) -> Finding:
    url = postgrest_access.url_of(settings)
    host, _colon, port = postgrest_access.place_of(settings).partition("/")[0].rpartition(":")
    found = spoken(host, int(port)) if port.isdigit() else None
    wanted = Protocol.HTTPS if postgrest_access.speaks_https(settings) else Protocol.HTTP
    if found not in (None, wanted):
        secure = f", or HTTP_ENDPOINT_SECURE={str(found is Protocol.HTTPS).lower()}"
        other = secure if found in (Protocol.HTTP, Protocol.HTTPS) else ""
        return failed(
            f"what listens at {host}:{port} speaks {found}, not {wanted}", f"Correct HTTP_ENDPOINT{other}"
        )
    refusal = authorities.refusal(error, file="HTTP_ENDPOINT_CA_FILE", host="HTTP_ENDPOINT")
    if refusal is not None:
        why, remedy = refusal
        return failed(f"PostgREST at {url}: {why}", remedy.rstrip("."))
    return failed(
        f"PostgREST at {url} does not answer ({type(error).__name__})",
        "Correct HTTP_ENDPOINT, or start what should listen there; ours: cht-sync up",
    )


def _is_postgrest(answer: requests.Response) -> bool:
    """Whether rows were given, or an error of PostgREST's."""
    try:
        body = answer.json()
    except ValueError:
        return False
    if answer.status_code == requests.codes.ok:
        return isinstance(body, list)
    return isinstance(body, dict) and isinstance(body.get("code"), str)


def _is_ours_and_rests(situation: Situation) -> bool:
    ours = "postgrest" in situation.services and not situation.given.http_endpoint
    return ours and not situation.is_running("postgrest")


def _said(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


ANSWERS = "postgrest"
CHECKS = (
    Check(ANSWERS, GROUP, _answers, settings=SETTINGS),
    Check("token", GROUP, _token, after=(ANSWERS,), settings=SETTINGS),
    Check("postgrest-clock", GROUP, _clock, after=(ANSWERS,), settings=SETTINGS),
)
