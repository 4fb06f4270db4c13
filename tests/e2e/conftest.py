"""Installations that are taken down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from whole_installation import Installation


@pytest.fixture
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A fresh installation with two databases; nothing runs yet."""
    home = tmp_path_factory.mktemp("home")
    made = Installation(home, {"COUCHDB_DBS": "medic medic-sentinel", "DATAEMON_INTERVAL": "1"})
    yield made
    made.run("down", "--volumes", check=False)
    left = made.processes()
    for process in left:
        process.kill()
    assert left == []
