"""What there is to examine: found out without starting, making or asking anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.runtime import chosen, credentials, embedded, preflight, status
from cht_sync.runtime import state as states
from cht_sync.runtime.containers import engine as engines
from cht_sync.runtime.containers import inside, recorded, running
from cht_sync.runtime.containers.handed_out import PORTS
from cht_sync.runtime.containers.running import Installation
from cht_sync.runtime.doctor.finding import ELSEWHERE
from cht_sync.runtime.doctor.situation import DOCKER, EMBEDDED, Situation
from cht_sync.runtime.supervisor import is_supervised
from cht_sync.settings import STATE_FOLDER, Settings, declared, load


@dataclass(frozen=True)
class _Given:
    """The settings as they are given now: readable ones, and what is wrong with the others."""

    settings: Settings | None
    problems: Sequence[str]
    refused: Collection[str]


def look(
    environment: Environment | None, runtime: str, home: Path, without: Sequence[str] = ()
) -> tuple[Situation, Installation | None]:
    """Return the situation, and the containers where the environment runs as such.

    What runs is examined, unless another environment is named; what rests as if `up` were to start it
    `without` some services.
    """
    try:
        return _seen(environment, runtime, home, without)
    except ChtSyncError as error:
        trouble = error.message, error.hint or ELSEWHERE
    except OSError as error:
        trouble = (
            f"{error.filename}: {error.strerror}",
            f"Make it yours: sudo chown -R $USER {error.filename}",
        )
    return _unknown(environment or Environment.LOCAL, runtime, home, without, trouble), None


def _seen(
    environment: Environment | None, runtime: str, home: Path, without: Sequence[str]
) -> tuple[Situation, Installation | None]:
    record = recorded.read(home / STATE_FOLDER)
    if record is not None and environment in (None, record.environment):
        return _containers(running.of(record, home), home)
    state = states.read(home / STATE_FOLDER)
    ended = None
    if state is not None and not (is_supervised(state) or state.leftovers()):
        ended, state = state.environment, None
    if state is not None and environment in (None, state.environment):
        return _processes(state, home), None
    others = [one.environment for one in (record, state) if one is not None]
    resting = _resting(environment or ended or Environment.LOCAL, runtime, home, without)
    return dataclasses.replace(resting, others=others, ended=resting.environment is ended), None


def from_inside(settings: Settings, services: Collection[str], runs: Collection[str]) -> Situation:
    """The situation as a container inside the network sees it, which is told what runs."""
    return Situation(
        settings.environment,
        settings.home,
        DOCKER,
        settings,
        services=services,
        states={name: {"state": "running", "address": f"{name}:{PORTS.get(name)}"} for name in runs},
    )


def _resting(environment: Environment, runtime: str, home: Path, without: Sequence[str]) -> Situation:
    given = _given(environment, home, without=without, docker=runtime == DOCKER)
    services = chosen.names(environment, without)
    settings = given.settings
    if settings is not None:
        # As `up` would place them: `local` never asks the servers of others that a `.env` names.
        address = settings.publish_address if runtime == DOCKER else embedded.LOOPBACK
        settings = embedded.placed(preflight.from_here(settings), services, address)
    return Situation(
        environment,
        home,
        runtime,
        settings,
        problems=given.problems,
        refused=given.refused,
        services=services,
    )


def _unknown(
    environment: Environment, runtime: str, home: Path, without: Sequence[str], trouble: tuple[str, str]
) -> Situation:
    """Where the record of what runs cannot be read: the settings are judged, and not used."""
    situation = Situation(
        environment, home, runtime, None, trouble=trouble, services=chosen.names(environment, without)
    )
    try:
        given = _given(environment, home, without=without, docker=runtime == DOCKER)
    except (ChtSyncError, OSError) as error:
        return dataclasses.replace(situation, not_judged=str(error))
    return dataclasses.replace(situation, problems=given.problems, refused=given.refused)


def _processes(state: states.EnvironmentState, home: Path) -> Situation:
    given = _given(state.environment, home, without=state.without, docker=False)
    services = status.local_services(state)
    return Situation(
        state.environment,
        home,
        EMBEDDED,
        embedded.recorded_settings(state, home),
        problems=given.problems,
        changed=_changed(given, state.given),
        services=[one["name"] for one in services],
        states=_with_addresses(services),
        supervised=is_supervised(state),
    )


def _containers(installation: Installation, home: Path) -> tuple[Situation, Installation]:
    record = installation.recorded
    given = _given(record.environment, home, without=record.without, docker=True)
    trouble = None
    try:
        with engines.connected() as engine:
            found = running.state(installation, engine).services
    except ChtSyncError as error:
        found, trouble = [], (f"its containers cannot be seen: {error}", error.hint or ELSEWHERE)
    situation = Situation(
        record.environment,
        home,
        DOCKER,
        installation.settings,
        problems=given.problems,
        changed=_changed(given, record.given),
        services=installation.services,
        states=_with_addresses(
            [status.service_shape(one, one.state) for one in found], installation.settings.publish_address
        ),
        trouble=trouble,
    )
    return situation, installation


def _with_addresses(
    services: Sequence[Mapping[str, Any]], host: str = embedded.LOOPBACK
) -> Mapping[str, Mapping[str, Any]]:
    return {one["name"]: {**one, "address": f"{host}:{one['port']}"} for one in services}


def _given(environment: Environment, home: Path, *, without: Sequence[str], docker: bool) -> _Given:
    """Load as `up` would; where that refuses, once more without what is refused. Makes no secrets."""
    needs = chosen.demanded(without)
    problems: list[str] = []
    kept: Mapping[str, str] = {}
    if environment is Environment.LOCAL:
        folder = home / STATE_FOLDER / (DOCKER if docker else "") / environment.value
        kept = credentials.secrets_there(folder)
    try:
        settings = load(environment, home=home, needs=needs, kept_secrets=kept)
        problems += _of_services(settings, without, docker=docker)
    except SettingsError as error:
        problems += error.problems
    refused = preflight.names_in(problems)
    try:
        settings = load(environment, home=home, needs=(), accepted=True, ignoring=refused, kept_secrets=kept)
    except SettingsError:
        return _Given(None, problems, refused)
    return _Given(dataclasses.replace(settings, runtime_folder=DOCKER if docker else ""), problems, refused)


def _of_services(settings: Settings, without: Sequence[str], *, docker: bool) -> list[str]:
    """What the services could not do with these settings."""
    try:
        names = chosen.service_names(settings, without)
        if docker:
            inside.check(settings, names)
    except SettingsError as error:
        return list(error.problems)
    return []


def _changed(given: _Given, before: Mapping[str, str]) -> list[str]:
    """The settings that are given otherwise than what runs was started with."""
    now = given.settings.given if given.settings is not None else before
    return [
        name
        for name, _variable in declared()
        if now.get(name) != before.get(name) and name not in given.refused
    ]
