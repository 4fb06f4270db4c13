"""Docker: the engine, Compose, room for images."""

from __future__ import annotations

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers import compose
from cht_sync.runtime.containers import engine as engines
from cht_sync.runtime.containers.available import refuse_a_full_disk
from cht_sync.runtime.doctor.finding import Check, Finding, Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import DOCKER, EMBEDDED, Situation

GROUP = "Docker"


def _docker(situation: Situation) -> Findings:
    if situation.runtime == EMBEDDED:
        yield skipped("local processes need none")
        return
    try:
        with engines.connected() as engine:
            yield ok(f"the engine answers; docker compose {compose.version()}")
            refuse_a_full_disk(engine)
            yield ok("images and volumes have room")
    except ChtSyncError as error:
        yield _missing(situation, error)


def _missing(situation: Situation, error: ChtSyncError) -> Finding:
    """Where nobody asked for Docker, `up` takes local processes."""
    if situation.runtime == DOCKER:
        return failed(error.message, error.hint or "")
    return warning(f"{error.message}; up takes local processes", error.hint or "")


CHECKS = (Check("docker", GROUP, _docker),)
