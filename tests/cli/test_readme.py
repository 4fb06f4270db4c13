"""What the README and the docs tell people to type exists, and what they show is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import yaml

from cht_sync import __version__
from cht_sync.cli import main

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "data-generator/README.md")),
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
PICTURE = "docs/images/programme-overview.svg"
LARGEST_PICTURE = 200_000
CODE = re.compile(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
SCREEN = ("local",)
"""`cht-sync local` is what the final screen says."""


def code_lines(document: Path) -> Iterator[str]:
    for block, inline in CODE.findall(document.read_text()):
        yield from (line.strip() for line in (block or inline).splitlines())


main.import_all()


def told(document: Path, program: str) -> list[str]:
    """The commands of a document, without what stands before the program, comments and further programs."""
    pattern = re.compile(rf"(?:^|[ /$]){program} +(.*)$")
    found = [pattern.search(line) for line in code_lines(document)]
    return [re.split(r"  #|   | \| ", match[1])[0] for match in found if match]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_cht_sync_exists_with_its_options(document: Path) -> None:
    for text in told(document, "cht-sync"):
        words = shlex.split(text)
        if words[0] in SCREEN:
            continue
        command: click.Command = main
        while words and isinstance(command, click.Group):
            assert words[0] in command.commands, f"`cht-sync {text}`: no such command"
            command = command.commands[words.pop(0)]
        known = {"--help"}
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
        for word in words:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, f"`cht-sync {text}`: no option {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    for text in told(document, "make"):
        target = next(word for word in text.split() if "=" not in word)
        assert target in targets, f"`make {text}`"


def test_the_readme_and_the_changelog_begin_with_this_version() -> None:
    minor = __version__.rpartition(".")[0]
    assert f"This is version {minor};" in (CHECKOUT / "README.md").read_text()
    assert (CHECKOUT / "CHANGELOG.md").read_text().startswith(f"# Changelog\n\n## {__version__}\n")


def test_the_picture_of_the_readme_shows_every_chart_of_the_dashboard_and_is_text() -> None:
    board = yaml.safe_load((CHECKOUT / "superset/assets/dashboards/programme_overview.yaml").read_text())
    titles = {
        part["meta"]["sliceName"]
        for part in board["position"].values()
        if isinstance(part, dict) and part["type"] == "CHART"
    }
    text = (CHECKOUT / PICTURE).read_text()
    shown = {
        element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
    }
    assert titles - shown == set(), "make pictures draws it anew"
    assert "<image" not in text
    assert "base64" not in text
    assert len(text) < LARGEST_PICTURE
    assert f"]({PICTURE})" in (CHECKOUT / "README.md").read_text()
