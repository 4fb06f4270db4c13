"""What the commands of `dead-letters` print and ask."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cht_sync.errors import SettingsError
from cht_sync.pipeline.dead_letters.line import events_of
from cht_sync.pipeline.dead_letters.redelivery import Outcome
from cht_sync.pipeline.document import decode_json
from cht_sync.reconcile.filed import Filed
from cht_sync.reconcile.report import shown

SHORTENED = ("document", "revision", "reason")
"""Columns that give way, so that each letter has one line; `show` and the JSON have all."""
WIDTH_OF_A_FILE = 160


def print_letters(found: Sequence[dict[str, Any]]) -> None:
    """Print letters in the shape of the JSON, a line each."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("id", "database", "document", "revision", "code", "reason", "at", "closed"):
        table.add_column(heading, no_wrap=heading not in SHORTENED)
    for one in found:
        texts = (one["doc_id"], one["rev"], one["code"], one["reason"])
        table.add_row(
            str(one["id"]),
            one["database"] or "",
            *(Text(shown(str(text or "")), no_wrap=True, overflow="ellipsis") for text in texts),
            f"{one['at']:%Y-%m-%d %H:%M:%S}" if one["at"] else "",
            one["closed_by"] or "",
        )
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE).print(table)


def everything(filed: Filed) -> dict[str, Any]:
    """What the file says of a letter; the event as what it is rather than as a text, where it can be read."""
    members = {**filed.letter.members, "id": filed.letter.name, "path": str(filed.path)}
    if events_of(members.get("document")) is not None:
        members["event"] = decode_json(members.pop("document"))
    return members


def said(outcome: Outcome) -> str:
    """What became of a letter of a file, for people."""
    if outcome.refusal is not None:
        return f"is refused again: {outcome.refusal.code}: {shown(outcome.refusal.reason)}"
    return outcome.problem or "delivered"


def wants_to_drop(in_table: int, in_files: int) -> bool:
    """Ask. Raises SettingsError where nobody can answer."""
    what = []
    if in_table == 1:
        what.append("Close 1 dead letter without storing its document")
    elif in_table:
        what.append(f"Close {in_table} dead letters without storing their documents")
    if in_files == 1:
        what.append("Remove 1 dead letter from its file, the only place where its event is")
    elif in_files:
        what.append(f"Remove {in_files} dead letters from their files, the only place where their events are")
    try:
        return click.confirm(f"{', and '.join(what)}?")
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise SettingsError(
            ["nothing was closed: nobody is there to be asked"], hint="Without a terminal say --yes."
        ) from None
