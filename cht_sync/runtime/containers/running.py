"""An environment of containers: prepared, started, watched, stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from cht_sync import process
from cht_sync.environments import BESIDE, SERVICES, Environment
from cht_sync.errors import ChtSyncError, ServiceError, SettingsError
from cht_sync.files import last_lines, private_folder, write_atomically
from cht_sync.process import ProcessId
from cht_sync.runtime import chosen, credentials, embedded, ports
from cht_sync.runtime.containers import command, handed_out, inside, recorded
from cht_sync.runtime.containers import engine as engines
from cht_sync.runtime.containers.available import logstash_image
from cht_sync.runtime.containers.compose import SETTINGS_FILE, Compose, files
from cht_sync.runtime.containers.recorded import Recorded
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.settings import AUTHORITIES, DOCKER, Settings, declared, env_template, load

RUNTIME = "docker"
PUBLISHED = {"postgres": "postgres_port", "couchdb": "couchdb_port", "superset": "superset_port"}
"""The services that listen on this machine, and the settings that say where."""
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (what a person may have chosen)
LOOK_EVERY = 0.3
"""Seconds between two looks at the containers."""
START_PATIENCE = 600.0
"""Seconds in which every service must be well once its container was started."""
STOP_TIMEOUT = 300.0
GATHER_TIMEOUT = 60.0
NOT_BUILT = "not built anew, so the images of the last build run:"
"""What is said where a build fails and there is an earlier image."""
MANY_RESTARTS = 3
"""Restarts at which a service that is still not well is said to have failed."""

Show = Callable[[EnvironmentState], None]
TakeAt = Callable[[int, str], bool]


@dataclass(frozen=True)
class Installation:
    """One environment. `settings` are as seen from this machine, not from inside the network."""

    settings: Settings
    recorded: Recorded
    compose: Compose

    @property
    def services(self) -> tuple[str, ...]:
        """The services that belong to it, in order."""
        return chosen.service_names(self.settings, self.recorded.without)


def load_settings(environment: Environment, *, home: Path, without: Collection[str]) -> Settings:
    """Load and check; `local` has secrets of its own where none are set. Raises SettingsError."""
    settings = load(environment, home=home, needs=chosen.demanded(without))
    inside.check(settings, chosen.service_names(settings, without))
    return _as_kept(settings)


def readable_settings(environment: Environment, *, home: Path, ignoring: Collection[str]) -> Settings:
    """The settings without some that are refused. Raises SettingsError."""
    settings = load(environment, home=home, needs=(), accepted=True, ignoring=ignoring)
    return dataclasses.replace(settings, runtime_folder=RUNTIME)


def _as_kept(settings: Settings) -> Settings:
    settings = dataclasses.replace(settings, runtime_folder=RUNTIME)
    return embedded.with_kept_secrets(settings) if settings.environment is Environment.LOCAL else settings


def of(record: Recorded, home: Path) -> Installation:
    """The installation that was recorded, with the settings that it was started with."""
    needs = chosen.demanded(record.without)
    settings = load(
        record.environment, home=home, environ=record.given, read_file=False, needs=needs, accepted=True
    )
    settings = _as_kept(settings)
    names = chosen.service_names(settings, record.without)
    found: dict[str, Any] = {PUBLISHED[service]: port for service, port in record.ports.items()}
    address = settings.publish_address
    here = embedded.LOOPBACK if address == ANY_ADDRESS else address
    settings = dataclasses.replace(embedded.placed(settings, names, here), **found)
    compose = Compose(record.project, record.environment, record.files, settings.data_folder)
    return Installation(settings, record, compose)


def project_of(settings: Settings) -> str:
    """The name of the Compose project: each environment has containers and volumes of its own."""
    return f"{settings.compose_project_name}-{settings.environment}"


def _refuse_what_is_not_ours(settings: Settings, before: Recorded | None, engine: engines.Engine) -> None:
    """Raises SettingsError where the project's name is another installation's, or has changed under it."""
    project = project_of(settings)
    if before is not None and before.project != project:
        raise SettingsError(
            [f"COMPOSE_PROJECT_NAME has changed, and {before.project} still runs"],
            hint="End it first: cht-sync down",
        )
    ours = str(settings.data_folder / SETTINGS_FILE)
    hint = "Give this one a name of its own: COMPOSE_PROJECT_NAME=..."
    for container in engine.project(project):
        theirs = container.labels.get(engines.SETTINGS_FILE, ours)
        if theirs != ours:
            raise SettingsError(
                [f"the containers of {project} belong to another installation, {theirs}"], hint=hint
            )
    owner = engine.owner_of_data(project)
    # One that is gone has been moved, or deleted without its data.
    if owner not in (None, ours) and Path(owner or "").exists():
        raise SettingsError([f"the data of {project} belong to another installation, {owner}"], hint=hint)


def prepare(
    settings: Settings, without: Sequence[str], engine: engines.Engine, take: TakeAt = ports.is_free
) -> Installation:
    """Choose ports and write what Compose and the first container read; starts nothing.

    `take` says whether a port may be used at an address. Raises ServiceError for a port that somebody else
    has, ChtSyncError where there is no room.
    """
    names = chosen.service_names(settings, without)
    project = project_of(settings)
    before = recorded.read(settings.state_folder)
    _refuse_what_is_not_ours(settings, before, engine)
    running = {engines.service_of(one) for one in engine.project(project) if one.status == "running"}
    held = {service: port for service, port in (before.ports.items() if before else ()) if service in running}
    # After a `down` the record of the last time is left beside the data.
    last = before or recorded.read(settings.data_folder)
    free = ports.choose(
        settings,
        [name for name in names if name in PUBLISHED and name not in held],
        {**(last.ports if last else {}), **held},
        lambda port: take(port, settings.publish_address.strip("[]")),
    )
    published = {name: held.get(name, getattr(free, PUBLISHED[name])) for name in names if name in PUBLISHED}
    record = Recorded(
        environment=settings.environment,
        project=project,
        files=files(),
        ports=published,
        without=list(without),
        given=dict(settings.given),
    )
    folder = private_folder(settings.data_folder)
    secrets = {
        name: getattr(settings, name.lower())
        for name, variable in declared()
        if variable.secret and getattr(settings, name.lower())
    }
    given = {**settings.given, **secrets}
    for name in AUTHORITIES:
        if path := getattr(settings, name):
            # Beside the settings, which is all that the container sees that hands them out.
            given[name.upper()] = handed_out.certificates_file(name)
            write_atomically(folder / given[name.upper()], Path(path).read_bytes())
    write_atomically(folder / ".env", env_template(given))
    text = compose_variables(settings, folder, ports=record.ports, without=record.without)
    write_atomically(folder / SETTINGS_FILE, text)
    installation = of(record, settings.home)
    if {"postgres", "couchdb"} & {*names}:
        credentials.write_for_tools(installation.settings)
    return installation


def compose_variables(
    settings: Settings, folder: Path, *, ports: Mapping[str, int], without: Collection[str] = ()
) -> str:
    """What `docker-compose.yml` reads, as an env file; no secret is among it.

    `ports` are those to publish, by service; `folder` is where the first container finds the settings.
    """
    names = [name for name, variable in declared() if variable.group == DOCKER]
    values = {name: settings.given[name] for name in names if settings.given.get(name)}
    values |= {PUBLISHED[service].upper(): str(port) for service, port in ports.items()}
    values["PIPELINE_ENGINE"] = settings.pipeline_engine
    values["CHT_SYNC_WITHOUT"] = " ".join(without)
    values["CHT_SYNC_SETTINGS"] = str(folder)
    quoted = {name: value.replace("'", "\\'") for name, value in values.items()}
    return "".join(f"{name}='{value}'\n" for name, value in quoted.items())


def get_images(
    installation: Installation, engine: engines.Engine, stop: threading.Event, say: Callable[[str], None]
) -> bool:
    """Pull what is not here and build what is ours; `say` gets each step. False when `stop` came first.

    An image that a setting names is taken as it is; the others of ours are built, so that they always are of
    this checkout. Where that fails, as without a registry, those that are here go on: `say` gets why. Raises
    ChtSyncError with the end of what Compose said.
    """
    pulled, built = _pulled_and_built(installation, engine)
    images = _our_images(installation.settings)
    for what, services, words in (
        ("pulling", pulled, ("pull",)),
        ("building", built, ("--progress", "plain", "build")),
    ):
        if not services:
            continue
        running = installation.compose.start(*words, *services)
        said = ""
        while running.poll() is None:
            if stop.wait(LOOK_EVERY):
                process.stop(ProcessId.of(running.pid))
                return False
            line = _last_step(installation.compose.log)
            if line and line != said:
                said = line
                say(f"{what}: {line}")
        if (
            running.returncode != 0
            and what == "building"
            and all(engine.has_image(images[one]) for one in built)
        ):
            last = (last_lines(installation.compose.log, 1) or ["it said nothing"])[0]
            say(f"{NOT_BUILT} {last}")
        elif running.returncode != 0:
            raise ChtSyncError(
                f"docker compose ended with exit code {running.returncode} while {what} images:\n"
                + "\n".join(last_lines(installation.compose.log, 8)),
                hint="Without Docker: cht-sync up --runtime embedded",
            )
    return True


def _pulled_and_built(installation: Installation, engine: engines.Engine) -> tuple[list[str], list[str]]:
    """The services whose images must be pulled, and those whose images are built here."""
    settings = installation.settings
    ours = _our_images(settings)
    others = {name: getattr(settings, f"{name}_image") for name in ("postgres", "postgrest", "couchdb")}
    wanted = (next(iter(ours)), *installation.services)
    built = [name for name in ours if name in wanted and not settings.given.get(_image_setting(name))]
    images = {**ours, **others}
    return [
        name
        for name, image in images.items()
        if name in wanted and name not in built and not engine.has_image(image)
    ], built


def _our_images(settings: Settings) -> dict[str, str]:
    """What is built here, by the service whose image it is."""
    return {
        f"settings-{settings.environment}": settings.cht_sync_image,
        "logstash": logstash_image(settings),
        "superset": settings.superset_image,
    }


def _image_setting(service: str) -> str:
    return {"logstash": "LOGSTASH_IMAGE", "superset": "SUPERSET_IMAGE"}.get(service, "CHT_SYNC_IMAGE")


def _last_step(log: Path) -> str:
    """The newest line that says a step of a build or a pull, shortened."""
    for line in reversed(last_lines(log, 5)):
        if "[" in line or "Pull" in line:
            return line.partition(" ")[2][:70] if line.startswith("#") else line.strip()[:70]
    return ""


def start(
    installation: Installation, engine: engines.Engine, stop: threading.Event, show: Show, *, anew: bool
) -> EnvironmentState | None:
    """Start everything and wait until it is well; None when `stop` comes first. Raises ChtSyncError.

    `anew` replaces containers that run: they have read settings that have changed since.
    """
    recorded.write(installation.settings.state_folder, installation.recorded)
    recorded.write(installation.settings.data_folder, installation.recorded)
    engine.remove_half_replaced(installation.recorded.project)
    engine.mark_data(installation.recorded.project, str(installation.settings.data_folder / SETTINGS_FILE))
    left_out = [word for name in _left_out(installation) for word in ("--scale", f"{name}=0")]
    options = ["--detach", "--no-build", "--remove-orphans", *(["--force-recreate"] if anew else [])]
    running = installation.compose.start("up", *options, *left_out)
    try:
        deadline = time.monotonic() + START_PATIENCE
        while True:
            containers = engine.project(installation.recorded.project)
            state = _state(installation, containers)
            show(state)
            if (code := running.poll()) is not None:
                if code != 0:
                    raise _failure(installation, containers)
                if all(one.state == "running" for one in state.services):
                    return state
                _raise_for_the_failed(containers)
            if time.monotonic() > deadline:
                raise _failure(installation, containers)
            if stop.wait(LOOK_EVERY):
                return None
    finally:
        if running.poll() is None:
            process.stop(ProcessId.of(running.pid))


def state(installation: Installation, engine: engines.Engine) -> EnvironmentState:
    """How the services are now."""
    return _state(installation, engine.project(installation.recorded.project))


def gather(installation: Installation) -> dict[str, Any]:
    """Ask, from inside the network, how databases and models are: the keys databases, dbt and problems."""
    try:
        asked = "--logstash" if "logstash" in installation.services else "--no-logstash"
        said = command.printed(installation.compose, ["gather", asked], GATHER_TIMEOUT)
        found: dict[str, Any] = json.loads(said)
    except (ChtSyncError, ValueError) as error:
        line = str(error).strip().splitlines()[-1]
        return {"databases": [], "dbt": None, "problems": [f"databases and models cannot be asked: {line}"]}
    return found


def stop(installation: Installation, engine: engines.Engine, *, volumes: bool = False) -> None:
    """Stop and remove the containers; with `volumes` the data and the secrets, too."""
    more = ["--volumes"] if volumes else []
    # With the command line's own profile, else its volume would stay.
    down = ("--profile", "tools", "down", "--remove-orphans")
    installation.compose.run(*down, *more, timeout=STOP_TIMEOUT)
    recorded.forget(installation.settings.state_folder)
    if volumes:
        # Compose knows only those of the settings that count now; another PIPELINE_ENGINE had its own.
        engine.remove_volumes(installation.recorded.project)
        shutil.rmtree(installation.settings.data_folder, ignore_errors=True)


def kill(installation: Installation, engine: engines.Engine) -> None:
    """Stop everything at once."""
    with contextlib.suppress(ChtSyncError):
        installation.compose.run("kill", timeout=STOP_TIMEOUT)
    stop(installation, engine)


def _left_out(installation: Installation) -> list[str]:
    """The services of the environment that are not wanted, and what runs once for them alone."""
    environment = installation.recorded.environment
    absent = [name for name in SERVICES[environment] if name not in installation.services]
    alone = {"couchdb": ("couchdb-setup",), "logstash": BESIDE[environment]}
    return [*absent, *(one for name in absent for one in alone.get(name, ()))]


def _state(installation: Installation, containers: Sequence[Container]) -> EnvironmentState:
    found = {engines.service_of(one): engines.state_of(one) for one in containers}
    services = [found.get(name) or ServiceState(name) for name in installation.services]
    for one in services:
        one.port = installation.recorded.ports.get(one.name)
    return EnvironmentState(
        environment=installation.recorded.environment,
        runtime=RUNTIME,
        supervisor_pid=0,
        supervisor_started=0,
        phase="starting",
        services=services,
        without=installation.recorded.without,
        given=installation.recorded.given,
    )


def _raise_for_the_failed(containers: Sequence[Container]) -> None:
    for container in containers:
        code, name = engines.exit_code(container), engines.service_of(container)
        restarts = engines.state_of(container).restarts
        if name not in SERVICES[Environment.LOCAL] and not code:
            continue  # what runs once, and has
        if engines.out_of_memory(container):
            what = f"needed more memory than it may have; raise {name.upper().replace('-', '_')}_MEMORY"
        elif code is not None:
            what = f"ended with exit code {code}"
        elif restarts >= MANY_RESTARTS:
            what = f"ended {restarts} times and was started again"
        elif engines.state_of(container).state == "unhealthy":
            what = "runs, but its health check fails"
        else:
            continue
        raise ServiceError(
            name,
            what,
            log_tail=engines.last_words(container),
            hint=f"The whole log: cht-sync logs {name}. Then again: cht-sync up, or clean up: cht-sync down",
        )


def _failure(installation: Installation, containers: Sequence[Container]) -> ChtSyncError:
    try:
        _raise_for_the_failed(containers)
    except ServiceError as error:
        return error
    said = last_lines(installation.compose.log, 6)
    return ChtSyncError(
        "docker compose did not start it: " + "\n".join(said or ["it said nothing"]),
        hint="See: cht-sync status and cht-sync logs",
    )
