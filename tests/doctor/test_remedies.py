"""What the doctor tells people to type exists: commands with their options, and variables."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cht_sync import runtime
from cht_sync.cli import main
from cht_sync.runtime.doctor.examine import AFTERWARDS, HERE, SERVERS
from cht_sync.settings import declared

FOLDER = Path(str(runtime.__file__)).parent
SOURCES = sorted([*(FOLDER / "doctor").glob("*.py"), *FOLDER.glob("*_access.py")], key=lambda path: path.name)
COMMAND = re.compile(r"cht-sync ((?:[a-z]+[a-z-]*)(?: --?[a-z-]+| [a-z]+)*)")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
SENTENCE = {"and", "or", "may", "that", "takes", "which", "in", "is"}
"""Words that may follow a command in a sentence."""


def texts(source: Path) -> Iterator[str]:
    """Every text of a module but docstrings, with a word in place of what is put in."""
    tree = ast.parse(source.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in documents | inside:
            yield str(node.value)


ALL = [text for source in SOURCES for text in texts(source)]
main.import_all()


def test_there_is_something_to_check() -> None:
    assert sum(len(COMMAND.findall(text)) for text in ALL) > 15
    assert sum(len(VARIABLE.findall(text)) for text in ALL) > 40


@pytest.mark.parametrize("text", [one for one in ALL if COMMAND.search(one)])
def test_every_command_exists_with_its_options(text: str) -> None:
    for told in COMMAND.findall(text):
        words = shlex.split(told)
        if words[0] in SENTENCE:
            continue
        command: click.Command = main
        while words and isinstance(command, click.Group):
            assert words[0] in command.commands, f"cht-sync {told}"
            command = command.commands[words.pop(0)]
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, f"cht-sync {told}"


def test_every_variable_is_a_setting() -> None:
    told = {name for text in ALL for name in VARIABLE.findall(text)}
    known = {name for name, _variable in declared()}
    # Beginnings of names, as checks depend on them, end with an underscore and are none of these.
    assert told - known == set()


def test_names_of_checks_are_used_once() -> None:
    names = [check.name for check in (*HERE, *SERVERS, *AFTERWARDS)]
    assert len(names) == len({*names})
    assert {before for check in SERVERS for before in check.after} <= {*names}
