"""The images hold the versions that everything else is tested with, and exactly those files."""

from __future__ import annotations

import re
from collections import defaultdict
from configparser import ConfigParser
from pathlib import Path

import pytest
from images.dockerfile import CHECKOUT

PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
LOCKS = (
    "logstash/requirements.txt",
    "dbt/requirements.txt",
    "build-requirements.txt",
    "superset/requirements.txt",
)
OURS = ("logstash/requirements.txt", "dbt/requirements.txt")
"""Those that are made from constraints.txt."""

each_lock = pytest.mark.parametrize("lock", LOCKS)


def pins(name: str) -> dict[str, set[str]]:
    """The versions of each package in a file; more than one where they depend on Python's."""
    found: dict[str, set[str]] = defaultdict(set)
    for package, version in PINNED.findall((CHECKOUT / name).read_text()):
        found[_normal(package)].add(version)
    return found


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _required(extra: str | None) -> set[str]:
    """The names that setup.cfg asks for."""
    setup = ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    texts = [setup["options"]["install_requires"]]
    if extra:
        texts.append(setup["options.extras_require"][extra])
    return {_normal(re.split(r"[<>=!]", line)[0]) for text in texts for line in text.split()}


@pytest.mark.parametrize("lock", OURS)
def test_an_image_has_the_versions_of_constraints(lock: str) -> None:
    constraints = pins("constraints.txt")
    assert {name: versions for name, versions in pins(lock).items() if constraints[name] != versions} == {}


def test_an_image_has_all_that_the_package_asks_for() -> None:
    assert _required(None) <= set(pins("logstash/requirements.txt"))
    assert _required("dbt") <= set(pins("dbt/requirements.txt"))


def test_the_engines_image_has_nothing_of_dbt() -> None:
    engine, models = set(pins("logstash/requirements.txt")), set(pins("dbt/requirements.txt"))

    assert engine < models
    assert not {name for name in engine if name.startswith("dbt")}


@each_lock
def test_every_version_has_hashes(lock: str) -> None:
    entries = re.split(r"(?<!\\)\n", (CHECKOUT / lock).read_text().strip())
    assert entries
    for entry in entries:
        assert PINNED.match(entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("lock", [*LOCKS, "constraints.txt"])
def test_no_address_of_a_registry_is_recorded(lock: str) -> None:
    assert "://" not in Path(CHECKOUT / lock).read_text()
