"""What the user sees: progress while services start, the final screen, the status table."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cht_sync.environments import SERVICE_NAMES
from cht_sync.runtime import credentials, postgres
from cht_sync.runtime.containers.handed_out import PORTS
from cht_sync.runtime.control import elapsed
from cht_sync.runtime.data_generator import CHANGES_PER_SECOND, FIRST_DOCUMENTS
from cht_sync.runtime.dbt_screen import dbt_lines
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.settings import CHECKOUT, Settings, file_name

STYLES = {
    "waiting": "dim",
    "starting": "yellow",
    "running": "green",
    "restarting": "yellow",
    "stopped": "red",
    "failed": "red",
}

IDLE = 180.0
"""Seconds after which a load or a move of rows counts as left alone."""
NOTHING_RUNS = "Nothing is running. Start it with: cht-sync up"


class Progress:
    """One line a service while they start: moving on a terminal, printed once each elsewhere."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._said: dict[str, str] = {}
        self._spinners: dict[str, Spinner] = {}

    def show(self, state: EnvironmentState) -> None:
        """Bring the lines up to date."""
        if self._live is not None:
            self._live.update(Group(*(self._line(one) for one in state.services)))
            return
        for one in state.services:
            text = one.doing or one.state
            if one.state != "waiting" and self._said.get(one.name) != text:
                self._said[one.name] = text
                self._console.print(f"  {one.name:<15} {text}", highlight=False, markup=False)

    def _line(self, one: ServiceState) -> RenderableType:
        text = Text.assemble((f"{one.name:<15} ", ""), (one.doing or one.state, STYLES.get(one.state, "")))
        if one.state != "starting":
            mark = {"running": "✓", "failed": "✗"}.get(one.state, " ")
            return Text.assemble("  ", (mark, STYLES.get(one.state, "")), " ", text)
        spinner = self._spinners.setdefault(one.name, Spinner("dots"))
        spinner.update(text=text)
        table = Table.grid()
        table.add_row("  ", spinner)
        return table


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Show the progress of a start until the block ends."""
    if not console.is_terminal:
        yield Progress(console, None)
        return
    with Live(console=console, refresh_per_second=12) as live:
        yield Progress(console, live)


def final_screen(
    console: Console, state: EnvironmentState, settings: Settings, unavailable: Mapping[str, str]
) -> None:
    """Say what runs where, and how to look at the data."""
    console.print(
        f"\n[bold]cht-sync {state.environment}[/bold] is running ({state.runtime})\n", highlight=False
    )
    table = Table.grid(padding=(0, 3))
    for one in state.services:
        if one.name in SERVICE_NAMES:  # not what ends when its work is done
            table.add_row("", one.name, _where(one, settings))
    console.print(table, highlight=False)
    for name, why in unavailable.items():
        console.print(f"   {name:<15}  {why}", style="yellow", highlight=False)
    console.print("\nLook at the data:", highlight=False)
    for line in _commands(state, settings):
        console.print(f"   {line}", highlight=False, markup=False, soft_wrap=True)
    console.print()


def warn(console: Console, warnings: Iterable[str]) -> None:
    """Print what does not keep an environment from starting."""
    for warning in warnings:
        console.print(f"! {warning}", style="yellow", soft_wrap=True)


def unmoved(status: dict[str, Any]) -> object:
    """What of a status is worth another look: all but ages and rates, which differ each time."""
    dbt = status["dbt"]
    return (
        status["environment"],
        [(one["name"], one["state"], one["restarts"]) for one in status["services"]],
        [
            (
                *(one["name"], one["documents"], one["rows"], one["pending"], one["dead_letters"]),
                *(one["problem"], one["load"] and one["load"]["documents"]),
                one["migration"] and one["migration"]["rows"],
            )
            for one in status["databases"]
        ],
        None if dbt is None else (dbt["last_run"], dbt["result"], dbt["failed"]),
        list(status["problems"]),
    )


def _load_line(database: str, load: dict[str, Any]) -> Text:
    """A parallel load that has not ended."""
    share = f"{database}: {load['documents']:,} of about {load['expected']:,} documents are loaded"
    return _work_line(share, load["seconds_idle"], f"cht-sync load {database}")


def _migration_line(database: str, migration: dict[str, Any]) -> Text:
    """Rows that are taken over from an earlier program."""
    share = f"{database}: {migration['rows']:,} rows of {migration['relation']} are taken over"
    return _work_line(share, migration["seconds_idle"], "cht-sync migrate run")


def _work_line(share: str, idle: float, command: str) -> Text:
    """Work that has not ended; in red, with the command that goes on, where nobody does it."""
    if idle < IDLE:
        return Text(share)
    return Text(f"! {share}, and nothing has been for {idle / 60:.0f} min: {command}", "red")


def status_view(status: dict[str, Any]) -> RenderableType:
    """The status as tables."""
    if status["environment"] is None:
        return Text(NOTHING_RUNS)
    services = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "state", "port", "for"):
        services.add_column(heading)
    for one in status["services"]:
        services.add_row(
            one["name"],
            Text(one["state"], STYLES.get(one["state"], "")),
            str(one["port"] or ""),
            _age(one["since"]),
        )
    databases = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("database", "documents", "rows", "pending", "behind", "documents/s", "dead letters"):
        databases.add_column(heading, justify="left" if heading == "database" else "right")
    for one in status["databases"]:
        letters = one["dead_letters"]
        behind = one["seconds_behind"]
        databases.add_row(
            one["name"],
            _number(one["documents"]),
            _number(one["rows"]),
            _number(one["pending"]),
            "?" if behind is None else f"{behind:.0f} s",
            "?" if one["documents_per_second"] is None else f"{one['documents_per_second']:.1f}",
            Text(_number(letters), "red" if letters else ""),
        )
    is_unknown = any(problem.startswith("dbt: ") for problem in status["problems"])
    parts: list[RenderableType] = [
        Text(f"cht-sync {status['environment']} ({status['runtime']})\n", "bold"),
        services,
        Text(),
        databases,
        *(Text(f"! {one['name']}: {one['problem']}", "red") for one in status["databases"] if one["problem"]),
        *(_load_line(one["name"], one["load"]) for one in status["databases"] if one["load"]),
        *(_migration_line(one["name"], one["migration"]) for one in status["databases"] if one["migration"]),
        Text(),
        *([Text("dbt: ?")] if status["dbt"] is None and is_unknown else dbt_lines(status["dbt"])),
    ]
    parts += [Text(f"! {problem}", "red") for problem in status["problems"]]
    return Group(*parts)


def _age(moment: str | None) -> str:
    return "" if moment is None else elapsed(datetime.fromisoformat(moment).timestamp())


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _where(one: ServiceState, settings: Settings) -> str:
    databases = " ".join(settings.couchdb_dbs)
    places = {
        "postgres": f"{settings.publish_address}:{one.port}, database {settings.postgres_db}",
        "couchdb": f"{settings.couchdb_url}, databases {databases}",
        "postgrest": _address(one),
        "logstash": f"{_address(one)} (monitoring), one pipeline each for {databases}",
        "data-generator": f"{FIRST_DOCUMENTS} documents, then {CHANGES_PER_SECOND:g} change a second",
        "dbt": f"schema {settings.dbt_postgres_schema}, every {settings.dataemon_interval:g} s when data "
        f"changed; {_address(one)}/metrics",
        "superset": f"http://{settings.publish_address}:{one.port}, user admin, "
        f"password: {_superset_password(settings)}",
    }
    return places.get(one.name, "")


def _address(one: ServiceState) -> str:
    """Where a service is asked; what containers do not publish has its address inside their network."""
    if one.port is not None:
        return f"http://127.0.0.1:{one.port}"
    return f"inside the network: http://{one.name}:{PORTS.get(one.name)}"


def _superset_password(settings: Settings) -> str:
    """Where a person finds it: never the password itself."""
    if settings.given.get("SUPERSET_PASSWORD"):
        return "SUPERSET_PASSWORD"
    return _near(settings.data_folder / credentials.SUPERSET_FILE)


def _near(path: Path) -> str:
    """The path from the current folder where it is below that, else the whole path."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _commands(state: EnvironmentState, settings: Settings) -> Iterator[str]:
    names = {one.name for one in state.services}
    folder = settings.data_folder
    if "postgres" in names:
        folder_of_psql = postgres.binaries_if_installed()
        psql = "psql" if shutil.which("psql") or not folder_of_psql else _near(folder_of_psql / "psql")
        schema = settings.dbt_postgres_schema
        query = f'select contact_type, count(*) from "{schema}".contact group by 1'  # noqa: S608 (only shown)
        words = [
            psql,
            "-h",
            settings.publish_address,
            "-p",
            str(settings.postgres_port),
            "-U",
            settings.postgres_user,
        ]
        words += [settings.postgres_db, "-c", query]
        yield f"PGPASSFILE={shlex.quote(_near(folder / 'pgpass'))} {shlex.join(words)}"
    if "couchdb" in names:
        address = f"{settings.couchdb_url}/{file_name(settings.couchdb_dbs[0])}/ada"
        words = ["curl", "--netrc-file", _near(folder / "netrc"), "-X", "PUT", address]
        yield shlex.join([*words, "-d", '{"type": "person", "name": "Ada"}'])
    program = (
        "cht-sync"
        if shutil.which("cht-sync")
        else shlex.quote(_near(CHECKOUT / ".venv" / "bin" / "cht-sync"))
    )
    yield f"{program} status"
    yield f"{program} logs -f"
    yield f"{program} down"
