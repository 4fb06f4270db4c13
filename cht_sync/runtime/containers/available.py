"""Whether an environment can run as containers on this machine, and if not, why."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers import compose
from cht_sync.runtime.containers import engine as engines
from cht_sync.settings import Settings

LITTLE_SPACE = 3 << 30
"""Bytes; less is not enough for the images."""


def unavailable(settings: Settings, services: Collection[str]) -> str | None:
    """Return why `services` cannot run as containers here; None where they can.

    They can where an engine and Compose answer and every image is here, or can be pulled or built.
    """
    try:
        with engines.connected() as engine:
            compose.version()
            wanted = list(_images(settings, services))
            with ThreadPoolExecutor() as pool:
                found = pool.map(lambda names: any(_to_be_had(engine, name) for name in names), wanted)
            absent = [names[-1] for names, there in zip(wanted, found, strict=True) if not there]
    except ChtSyncError as error:
        return error.message
    if absent:
        return f"Docker is here, but not the images {', '.join(absent)}, and no registry has them for us"
    return None


def refuse_a_full_disk(engine: engines.Engine) -> None:
    """Raises ChtSyncError where there is no room for images and volumes."""
    free = engine.free_space()
    if free is not None and free < LITTLE_SPACE:
        raise ChtSyncError(
            f"Docker has {free / 1e9:.1f} GB of disk left, and needs {LITTLE_SPACE / 1e9:.0f}",
            hint="Free some: docker system df, docker system prune",
        )


def logstash_image(settings: Settings) -> str:
    """The image of the pipelines: the one that is set, or that of the engine, which is built here."""
    return settings.logstash_image or f"cht-sync-logstash:{settings.pipeline_engine}"


def _to_be_had(engine: engines.Engine, name: str) -> bool:
    return engine.has_image(name) or engine.can_pull(name)


def _images(settings: Settings, services: Collection[str]) -> Iterator[tuple[str, ...]]:
    """For each image those of which one is enough: itself, or what it is built on."""
    base = settings.python_base_image
    yield (settings.cht_sync_image, base)
    if "logstash" in services:
        ours = logstash_image(settings)
        yield (ours, base if settings.pipeline_engine == "native" else settings.logstash_base_image)
    if "superset" in services:
        yield (settings.superset_image, settings.superset_base_image)
    for name in ("postgres", "postgrest", "couchdb"):
        if name in services:
            yield (getattr(settings, f"{name}_image"),)
