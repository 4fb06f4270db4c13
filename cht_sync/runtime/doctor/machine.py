"""The machine: programs, memory, files, and what runs of the environment."""

from __future__ import annotations

import resource
import stat
import sys

import psutil

from cht_sync.errors import ChtSyncError
from cht_sync.runtime import embedded, node
from cht_sync.runtime.doctor import disk, port_holders
from cht_sync.runtime.doctor.finding import Check, Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import DOCKER, EMBEDDED, Situation

GROUP = "machine"
OLDEST, NEWEST = (3, 11), (3, 13)
LITTLE_MEMORY = 500 << 20
"""Bytes that can be had; with less a service may be ended by the kernel."""
FEW_FILES = 1024
OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
BEGINNING = ("waiting", "starting")
ABSENT = "without a container"
"""What a container that waits is: Compose starts none of them later."""


def _programs(situation: Situation) -> Findings:
    version = sys.version_info[:2]
    said = f"{version[0]}.{version[1]}"
    if not OLDEST <= version <= NEWEST:
        yield failed(f"Python {said} is not among 3.11 to 3.13", "Install one of them, then: make local")
    else:
        yield ok(f"Python {said}")
    if situation.runtime == DOCKER:
        return
    if "superset" in situation.services and (why := embedded.unavailable().get("superset")):
        yield warning(f"superset {why}", "Install one of them, or: cht-sync up --without superset")
    if "couchdb" in situation.services:
        try:
            node.programs()
        except ChtSyncError as error:
            say = failed if situation.runtime == EMBEDDED else warning
            yield say(error.message, error.hint or "")


def _services(situation: Situation) -> Findings:
    if not situation.supervised:
        yield failed(
            "the supervisor is gone", "End what it left, and start again: cht-sync down, cht-sync up"
        )
    for other in situation.others:
        yield warning(f"{other} is running here, and one environment runs at a time", "End it: cht-sync down")
    if situation.trouble is not None:
        yield failed(*situation.trouble)
    elif situation.ended:
        yield failed(
            f"{situation.environment} was started and has ended without `down`, as after a restart of the "
            "machine",
            f"Start it again: cht-sync up{situation.env}",
        )
    elif not situation.runs:
        yield skipped(f"nothing of {situation.environment} runs here")
    else:
        yield from _not_running(situation)


def _not_running(situation: Situation) -> Findings:
    states = {name: str(one["state"]) for name, one in situation.states.items()}
    if situation.runtime == DOCKER:
        states = {name: ABSENT if state == "waiting" else state for name, state in states.items()}
    not_yet = [f"{name} is {state}" for name, state in states.items() if state in BEGINNING]
    if not_yet:
        yield warning(", ".join(not_yet), "Ask again when it is done; its progress: cht-sync status --watch")
    for name, state in states.items():
        if state != "running" and state not in BEGINNING:
            say = warning if state == "restarting" else failed
            yield say(f"{name} is {state}", f"See why: cht-sync logs {name}. Then: cht-sync up")
    if {*states.values()} == {"running"}:
        yield ok(f"{len(states)} run ({situation.runtime})")


def _memory(_situation: Situation) -> Findings:
    memory = psutil.virtual_memory()
    said = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB can be had"
    if memory.available < LITTLE_MEMORY:
        yield warning(said, "End what is not needed, or give the machine more (docs/operating.md, Sizing)")
    else:
        yield ok(said)


def _open_files(_situation: Situation) -> Findings:
    most, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < FEW_FILES:
        yield warning(f"a process may open only {most} files", f"Before cht-sync up: ulimit -n {FEW_FILES}")
    else:
        yield ok("a process may open enough files")


def _env_file(situation: Situation) -> Findings:
    file = situation.home / ".env"
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        yield ok(f"there is no {file}; settings come from the environment, or have their defaults")
        return
    if not file.is_file():
        yield failed(f"{file} is no file", f"Move it away, and write one: cht-sync init{situation.env}")
    elif mode & OF_OTHERS:
        yield warning(f"others may read {file} (mode {mode:o}), which holds secrets", f"chmod 600 {file}")
    else:
        yield ok(f"only its owner may read {file}")


CHECKS = (
    Check("programs", GROUP, _programs),
    Check("services", GROUP, _services),
    Check("ports", GROUP, port_holders.taken),
    Check("disk", GROUP, disk.room),
    Check("memory", GROUP, _memory),
    Check("open-files", GROUP, _open_files),
    Check("env-file", GROUP, _env_file),
)
