"""Where the commands of `dead-letters` look: the table and the files of an environment, or only files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
from psycopg2.extensions import connection as Connection

from cht_sync import render
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.startup import Startup, prepare
from cht_sync.reconcile import letters
from cht_sync.reconcile.filed import Filed, Files
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.table import told_of
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import Endpoint, dbt_endpoint, owner_endpoint

Command = TypeVar("Command", bound=Callable[..., None])


def letter_name(text: str) -> int | str:
    """Return a number in the table as such, and `<pipeline>:<id>` in a file as it is."""
    if text.isascii() and text.isdigit():
        return int(text)
    pipeline, _colon, id = text.rpartition(":")
    if not (pipeline and id):
        raise click.BadParameter(f"{text!r} is no dead letter; they are numbers, or PIPELINE:ID in files")
    return text


@dataclass(frozen=True)
class Place:
    """`settings` are those of the environment, None where only files are meant."""

    settings: Settings | None
    startup: Startup
    folders: tuple[Path, ...]

    @cached_property
    def files(self) -> Files:
        return Files(self.folders)


def place_options(command: Command) -> Command:
    """The options that say where dead letters are; the command gets them as `place_of` takes them."""
    options = (
        environment_option,
        click.option(
            "--path.data",
            "data",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Look only at the files of the engine with this data folder, as given to `cht-sync pipeline "
            "run`; no environment and no database is needed.",
        ),
        click.option(
            "--path.dead_letter_queue",
            "queue",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The same, with the folder of the files themselves.",
        ),
        click.option(
            "--path.settings",
            "settings_folder",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The same, where logstash.yml and pipelines.yml say it.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def place_of(
    environment: str,
    data: Path | None,
    queue: Path | None,
    settings_folder: Path | None,
    configuration: tuple[str, ...] = (),
    **more: Any,
) -> Place:
    """Return where to look. Raises ChtSyncError for what is not there."""
    if data is None and queue is None and settings_folder is None and not configuration:
        return _of_environment(environment)
    flags = {
        "path.data": None if data is None else str(data),
        "path.dead_letter_queue": None if queue is None else str(queue),
        "path.config": configuration or None,
    }
    startup = prepare(flags, os.environ, settings_folder, **more)
    folders = tuple(startup.letter_folders())
    known = [folder for folder in folders if folder.is_dir() or (queue is None and folder.parent.is_dir())]
    if not known:
        raise ChtSyncError(
            f"{folders[0]} is no folder",
            hint="Name the data folder of the engine with --path.data, or that of its dead letters with "
            "--path.dead_letter_queue.",
        )
    return Place(None, startup, folders)


def _of_environment(environment: str) -> Place:
    settings = reachable_settings(Environment(environment))
    folder = settings.data_folder / "logstash"
    variables = {**os.environ, **render.variables(settings)}
    startup = prepare({}, variables, folder if folder.is_dir() else None)
    return Place(settings, startup, (folder / "data" / "dead_letter_queue",))


def table_of(place: Place, stack: ExitStack, *, owner: bool = False) -> Connection | None:
    """Connect to the environment's database; say in one line why the table is not looked at otherwise."""
    if place.settings is None:
        click.echo("Only files were looked at, not the table of dead letters in PostgreSQL.", err=True)
        return None
    endpoint = owner_endpoint(place.settings) if owner else dbt_endpoint(place.settings)
    try:
        return stack.enter_context(connected(endpoint))
    except ChtSyncError as error:
        click.echo(f"The table of dead letters was not looked at: {error}", err=True)
        return None


def settings_with_table(place: Place, numbers: Sequence[int]) -> Settings:
    """The settings by which the table is found. Raises ChtSyncError where only files are meant."""
    if place.settings is None:
        raise ChtSyncError(
            f"{', '.join(map(str, numbers))}: numbers are of the table, and only files were asked for",
            hint="Letters in files are called PIPELINE:ID. For the table leave --path.* and -f out.",
        )
    return place.settings


def only_in_files(in_files: Sequence[Filed], connection: Connection, schema: str) -> list[Filed]:
    """Leave out the letters that the table has too, open or settled."""
    fingerprints = [one.fingerprint for one in in_files if one.fingerprint is not None]
    in_table = letters.known(connection, schema, fingerprints) if fingerprints else {}
    return [one for one in in_files if one.fingerprint not in in_table]


@contextmanager
def connected(endpoint: Endpoint) -> Iterator[Connection]:
    with interruptible_queries(), told_of("dead letters"), endpoint.connect() as connection:
        yield connection
