"""A terminal whose encoding lacks our marks gets others in their place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def shown(encoding: str, home: Path, *words: str) -> str:
    """What a command prints; nothing goes to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "cht_sync", *words],
        env={**os.environ, "PYTHONIOENCODING": encoding, "CHT_SYNC_HOME": str(home)},
        cwd=home,
        capture_output=True,
        encoding=encoding,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_marks_are_replaced_where_the_encoding_lacks_them(tmp_path: Path, encoding: str) -> None:
    said = shown(encoding, tmp_path, "doctor", "--env", "prod", "--runtime", "embedded")
    assert "  + memory" in said
    assert "  x settings" in said
    assert "    -> Set it in " in said


def test_so_they_are_in_the_help(tmp_path: Path) -> None:
    assert "A + is well, ! is to be looked at, x has failed; -> says what to do" in shown(
        "latin-1", tmp_path, "doctor", "--help"
    )
