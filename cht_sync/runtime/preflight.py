"""What an environment needs of other people's servers, asked before anything is started or changed.

A CouchDB that is away only warns: a machine that starts at night while CouchDB is down must come up and wait.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import quote

import requests

from cht_sync import authorities
from cht_sync.errors import ChtSyncError, SettingsError, sentences
from cht_sync.logins import basic
from cht_sync.pipeline.couchdb.login import NOT_ALLOWED_HERE, REFUSED
from cht_sync.pipeline.couchdb.refusals import RememberedRefusal
from cht_sync.settings import Settings
from cht_sync.warehouse import schema
from cht_sync.warehouse.connection import dbt_endpoint, owner_endpoint

REQUEST_TIMEOUT = 10.0
FORBIDDEN, NOT_FOUND = 403, 404
LATER = (408, 425, 429)
"""Answers, beside those of 500 and more, after which the same request may succeed."""
TO_CORRECT = "correct COUCHDB_USER and COUCHDB_PASSWORD"
HOST_OF_CONTAINERS = "host.docker.internal"


@dataclass
class Found:
    """`problems` keep an environment from starting, `warnings` do not; each is one line with what to do."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def refuse(settings: Settings, services: Collection[str]) -> list[str]:
    """Return the warnings. Raises SettingsError with one line for each problem, all at once."""
    found = look(settings, services)
    if found.problems:
        raise SettingsError(found.problems, hint="Nothing was started.")
    return found.warnings


def look(settings: Settings, services: Collection[str]) -> Found:
    """Ask what these services need and none of them is; the settings are as seen from this machine."""
    found = Found()
    if "postgres" not in services:
        _look_at_postgresql(settings, services, found)
    if "couchdb" not in services and "logstash" in services:
        _look_at_couchdb(settings, found)
    return found


def loaded(
    settings_of: Callable[[], Settings],
    settings_without: Callable[[Collection[str]], Settings],
    services: Collection[str],
) -> Settings:
    """Return what `settings_of` loads; where that refuses, ask the servers of others, too.

    So all is said at once. `settings_without` loads the settings without some, as seen from this machine.
    Raises SettingsError.
    """
    try:
        return settings_of()
    except SettingsError as error:
        raise _with_servers(error, settings_without, services) from error


def _with_servers(
    error: SettingsError, settings_without: Callable[[Collection[str]], Settings], services: Collection[str]
) -> SettingsError:
    """A server is asked only where no setting that leads to it is among the problems.

    A password must not go where it was refused to go.
    """
    refused = {problem.partition(" ")[0].partition("=")[0] for problem in error.problems}
    try:
        settings = settings_without(refused)
    except SettingsError:
        return error
    found = Found()

    def is_asked(*values: str, named: Collection[str]) -> bool:
        return all(values) and not any(name.startswith(tuple(named)) for name in refused)

    host, user, password = settings.postgres_host, settings.postgres_user, settings.postgres_password
    if "postgres" not in services and is_asked(host, user, password, named=("POSTGRES_", "DBT_POSTGRES_")):
        _look_at_postgresql(settings, services, found)
    host, user, password = settings.couchdb_host, settings.couchdb_user, settings.couchdb_password
    follows = "couchdb" not in services and "logstash" in services
    if follows and is_asked(host, user, password, named=("COUCHDB_",)):
        _look_at_couchdb(settings, found)
    return SettingsError([*error.problems, *found.problems], hint=error.hint)


def _look_at_postgresql(settings: Settings, services: Collection[str], found: Found) -> None:
    # A pipeline alone, whose PostgREST is elsewhere, may be where PostgreSQL cannot be reached.
    if not {"postgrest", "dbt", "superset"} & {*services}:
        return
    try:
        schema.check_database(owner_endpoint(settings))
    except ChtSyncError as error:
        found.problems.append(sentences(error))
    other = settings.dbt_postgres_host
    # The role of the models may still have to be made, so only the server is asked for.
    asked = "dbt" in services and other and other != settings.postgres_host
    if asked and (problem := dbt_endpoint(settings).unreachable()):
        found.problems.append(f"{problem}; check DBT_POSTGRES_HOST")


def _look_at_couchdb(settings: Settings, found: Found) -> None:
    """Ask for one database after the other, and for no other after a refused login: six lock the account."""
    url, user, password = settings.couchdb_url, settings.couchdb_user, settings.couchdb_password
    refusal = RememberedRefusal(settings.data_folder, url, user, password)
    if refusal.lasts():
        found.problems.append(
            f"CouchDB at {url} has refused the login of {user} and is not asked again for five minutes; "
            f"{TO_CORRECT}: with others it is asked at once"
        )
        return
    with requests.Session() as session:
        session.trust_env = False  # as the pipelines ask
        session.auth = basic(user, password)
        session.verify = settings.couchdb_ca_file or True
        for database in settings.couchdb_dbs:
            address = f"{url}/{quote(database, safe='')}"
            try:
                answer = session.get(address, timeout=REQUEST_TIMEOUT, allow_redirects=False)
            except (requests.RequestException, ValueError) as error:
                told = authorities.refusal(error, file="COUCHDB_CA_FILE", host="COUCHDB_HOST")
                found.warnings.append(_away(url, ". ".join(told) if told else type(error).__name__))
                return
            if answer.status_code in LATER or answer.status_code >= 500:
                found.warnings.append(_away(url, f"HTTP {answer.status_code}"))
                return
            if _refuses_the_login(answer):
                refusal.begin()
                said = _said(answer).get("reason") or f"HTTP {answer.status_code}"
                found.problems.append(f"CouchDB at {url} refuses the login of {user}: {said}; {TO_CORRECT}")
                return
            problem = _problem_of(answer, url, user, database)
            if problem is not None and problem not in found.problems:
                found.problems.append(problem)


def _refuses_the_login(answer: requests.Response) -> bool:
    closed = answer.status_code == FORBIDDEN and _said(answer).get("reason") == NOT_ALLOWED_HERE
    return answer.status_code in REFUSED and not closed


def _problem_of(answer: requests.Response, url: str, user: str, database: str) -> str | None:
    said = _said(answer)
    if answer.status_code == requests.codes.ok and "doc_count" in said:
        return None
    if answer.status_code == FORBIDDEN:
        return (
            f"CouchDB at {url}: {user} may not read {database}; add the user to the members in the "
            "database's security object"
        )
    if answer.status_code == NOT_FOUND and said.get("error") == "not_found":
        return f"CouchDB at {url} has no database {database}; correct COUCHDB_DBS, or make it there"
    return (
        f"what answers at {url} is not CouchDB (HTTP {answer.status_code}); check COUCHDB_HOST, "
        "COUCHDB_PORT, COUCHDB_PATH and COUCHDB_SECURE"
    )


def _away(url: str, why: str) -> str:
    return f"CouchDB at {url} does not answer ({why}); the pipelines wait for it"


def _said(answer: requests.Response) -> dict[str, str]:
    """The values of the answer, each as one line; none where it is no JSON object."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return {key: " ".join(str(body[key]).split())[:200] for key in body} if isinstance(body, dict) else {}


def from_here(settings: Settings) -> Settings:
    """The settings of containers as this machine sees them."""

    def seen(host: str) -> str:
        return "127.0.0.1" if host == HOST_OF_CONTAINERS else host

    return dataclasses.replace(
        settings,
        couchdb_host=seen(settings.couchdb_host),
        postgres_host=seen(settings.postgres_host),
        dbt_postgres_host=seen(settings.dbt_postgres_host),
    )
