"""An environment as a stack of Docker Swarm.

What one-shots hand out through volumes of one machine, a swarm brings to its nodes: each service's settings
are secrets of that service alone, the configuration of the pipelines are configs. A swarm never changes one,
so their names change with their content, and a deployment replaces the services whose settings are new.
"""

from __future__ import annotations

import hmac
import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cht_sync import render
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.files import private_folder, write_atomically
from cht_sync.runtime.containers import compose
from cht_sync.runtime.containers.handed_out import PLACE, READABLE, handed_out
from cht_sync.runtime.containers.inside import settings_of_project
from cht_sync.runtime.containers.running import PUBLISHED, compose_variables, project_of
from cht_sync.runtime.preflight import HOST_OF_CONTAINERS
from cht_sync.runtime.swarm import form
from cht_sync.settings import CHECKOUT, STATE_FOLDER, Settings

OVERLAY = CHECKOUT / "deploy" / "swarm" / "overlay.yml"
THIS_MACHINE = "10.0.0.1"
"""For examples: a service of a swarm has no name for the node that it is on."""
ADDRESSES = ("COUCHDB_HOST", "POSTGRES_HOST", "DBT_POSTGRES_HOST", "HTTP_ENDPOINT")
FOREIGN = ("postgres", "postgrest")
"""Images of others, which read a file a variable; those of ours start with `with-settings`."""
ASSIGNMENTS = "settings.sh"
"""What `with-settings` reads in place of a file a variable."""
REPLACED = re.compile(r"settings-.*|render-config")
"""One-shots whose work is done here."""
MARK_LENGTH = 10
NAME_LENGTH = 20
"""With the mark and the name of the stack, which may have 32 characters, a name has 64 at most."""
RENDER_TIMEOUT = 60.0


@dataclass(frozen=True)
class Stack:
    """A stack whose file, and those that it names, have been written."""

    name: str
    file: Path
    services: tuple[str, ...]
    unpublished: tuple[str, ...]
    """Those with a port at an address, to which a swarm cannot keep it."""


def write(environment: Environment, *, home: Path, own: Sequence[Path], environ: Mapping[str, str]) -> Stack:
    """Check all settings and write the stack into the state folder of `home`; nothing is asked or started.

    `own` are compose files that come on top of ours. Raises SettingsError, and ChtSyncError for what Compose
    refuses or where the folder cannot be written.
    """
    settings = _settings(environment, home, environ)
    folder = home / STATE_FOLDER / "swarm" / environment.value
    try:
        private_folder(folder)
        configuration = _configuration(settings, folder, own)
        files = Files(folder / "files", settings.pgrst_jwt_secret)
        tree = _tree(configuration, settings, files)
        files.write()
        write_atomically(folder / "stack.yml", yaml.safe_dump(tree, sort_keys=False))
    except OSError as error:
        raise ChtSyncError(f"{folder} cannot be written: {error.strerror}") from error
    unpublished = [
        name
        for name in tree["services"]
        if not all(form.is_everywhere(one) for one in configuration["services"][name].get("ports", ()))
    ]
    return Stack(project_of(settings), folder / "stack.yml", (*tree["services"],), tuple(unpublished))


class Files:
    """Files that are secrets or configs, by a name that changes with the content.

    The name shows nothing of the content to whoever has not got `key`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key.encode()
        self._texts: dict[str, str] = {}

    def add(self, name: str, text: str, target: str) -> dict[str, Any]:
        """Remember a file; return how a service mounts it."""
        mark = hmac.new(self._key, f"{name}\0{text}".encode(), "sha256").hexdigest()[:MARK_LENGTH]
        short = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:NAME_LENGTH].strip("-._")
        unique = f"{short}-{mark}"
        self._texts[unique] = text
        return {"source": unique, "target": target, "mode": READABLE}

    def place(self, name: str) -> dict[str, str]:
        """How a stack names the file."""
        # A stack's own `$` begins a variable.
        return {"file": str(self._folder / name).replace("$", "$$")}

    def write(self) -> None:
        """Write them all, and nothing else stays. Raises OSError."""
        shutil.rmtree(self._folder, ignore_errors=True)
        private_folder(self._folder)
        for name, text in self._texts.items():
            write_atomically(self._folder / name, text)


def _settings(environment: Environment, home: Path, environ: Mapping[str, str]) -> Settings:
    if environment is Environment.LOCAL:
        raise SettingsError(
            ["a swarm runs gamma or prod; local belongs to one machine"],
            hint="For local: cht-sync up --env local",
        )
    settings = settings_of_project(environment, home, (), environ=environ, this_machine=THIS_MACHINE)
    problems = [
        f"{name} is {HOST_OF_CONTAINERS}, which a swarm does not know; for example {name}={THIS_MACHINE}"
        for name in ADDRESSES
        if getattr(settings, name.lower()).startswith(HOST_OF_CONTAINERS)
    ]
    if problems:
        raise SettingsError(problems)
    return settings


def _configuration(settings: Settings, folder: Path, own: Sequence[Path]) -> dict[str, Any]:
    """What Compose makes of all files, with the command line among the services."""
    given = {service: settings.given.get(setting.upper()) for service, setting in PUBLISHED.items()}
    ports = {service: int(port) for service, port in given.items() if port}
    write_atomically(folder / compose.SETTINGS_FILE, compose_variables(settings, folder, ports=ports))
    files = [*compose.files(), str(OVERLAY), *map(str, own)]
    door = compose.Compose(project_of(settings), settings.environment, files, folder)
    found: dict[str, Any] = json.loads(
        door.run("--profile", "tools", "config", "--format", "json", timeout=RENDER_TIMEOUT)
    )
    return found


def _tree(configuration: Mapping[str, Any], settings: Settings, files: Files) -> dict[str, Any]:
    handed = handed_out(settings)
    services: dict[str, dict[str, Any]] = {}
    named: dict[str, dict[str, Any]] = {"secrets": {}, "configs": {}}
    for name, given in configuration["services"].items():
        if REPLACED.fullmatch(name):
            continue
        service = services[name] = form.service(given)
        service["secrets"] = [
            *service.get("secrets", ()),
            *(
                files.add(f"{name}-{file}", text, f"{PLACE}/{file}")
                for file, text in _secrets(name, handed.get(name, {})).items()
            ),
        ]
        if name == "logstash":
            rendered = render.render(settings, engine=settings.pipeline_engine)
            service["configs"] = [
                *service.get("configs", ()),
                *(files.add(file, text, f"{form.PIPELINES}/{file}") for file, text in rendered.items()),
            ]
        for kind, found in named.items():
            own = configuration.get(kind, {})
            for source in (one["source"] for one in service.get(kind, ())):
                found[source] = own[source] if source in own else files.place(source)
    return {
        "version": form.VERSION,
        "services": services,
        "networks": form.used(configuration, "networks", services),
        "volumes": form.used(configuration, "volumes", services),
        **named,
    }


def _secrets(service: str, handed: Mapping[str, str]) -> dict[str, str]:
    """The files of a service: for ours one with all variables, since a secret for each would be hundreds."""
    if service in FOREIGN or not handed:
        return dict(handed)
    variables = {name: value for name, value in sorted(handed.items()) if not name.endswith(".pem")}
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    return {ASSIGNMENTS: assignments, **{name: handed[name] for name in handed.keys() - variables.keys()}}
