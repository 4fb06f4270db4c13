"""Every command and option explains itself, in words that were reviewed.

The golden files in `golden/` are changed on purpose only: `UPDATE_GOLDEN=1 pytest tests/cli` writes them
anew, and the difference is read before it is committed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cht_sync.cli import main
from cht_sync.cli.group import MODULE_OF

GOLDEN = Path(__file__).parent / "golden"


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that is shown, groups included."""
    yield words
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


def command_of(words: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


main.import_all()
ALL = list(commands())


def golden_file(words: tuple[str, ...]) -> Path:
    return GOLDEN / f"{'-'.join(('cht-sync', *words))}.txt"


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_help_is_the_golden_one(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*words, "--help"], prog_name="cht-sync", terminal_width=80)
    assert shown.exit_code == 0
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.mkdir(exist_ok=True)
        golden_file(words).write_text(shown.stdout)
    assert shown.stdout == golden_file(words).read_text()


def test_no_golden_file_is_of_a_command_that_is_gone() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {golden_file(words).name for words in ALL}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_and_every_option_has_a_text(words: tuple[str, ...]) -> None:
    command = command_of(words)
    assert command.help
    options = [one for one in command.params if isinstance(one, click.Option)]
    silent = [option.opts[-1] for option in options if not option.help and not option.hidden]
    assert silent == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_short_and_the_long_option_for_help_are_the_same(words: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(main, [*words, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout


def test_the_commands_of_the_design_are_there() -> None:
    wanted = {"up", "down", "status", "logs", "init", "render-config", "init-db", "generate"}
    assert wanted <= set(main.commands)
    for group, command in (("pipeline", "run"), ("ingest", "serve"), ("dbt", "run"), ("dbt", "loop")):
        assert command_of((group, command)).help


def test_every_command_is_found_in_the_module_that_the_table_names() -> None:
    found = {name: getattr(command.callback, "__module__", "") for name, command in main.commands.items()}
    assert found == {name: f"cht_sync.cli.{module}" for name, module in MODULE_OF.items()}
