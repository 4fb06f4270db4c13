"""What dbt says is told in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cht_sync.errors import ChtSyncError
from cht_sync.transform.package.dbt_process import one_line, run_dbt

TRACEBACK = """python ended with exit code 2: ^^^^^^^^^^^^^^^^
  File "connection.py", line 36, in connection_exception_retry
    return connection_exception_retry(fn, max_attempts, attempt + 1)
  [Previous line repeated 2 more times]
dbt_common.exceptions.connection.ConnectionError: External connection exception occurred: no such host"""


def test_lines_are_joined_without_their_times() -> None:
    said = "python ended with exit code 2: 14:20:06  Encountered an error:\n14:20:06  no dbt_project.yml"
    assert one_line(said) == "Encountered an error: no dbt_project.yml"


def test_of_a_traceback_only_what_was_raised_is_told() -> None:
    assert one_line(TRACEBACK) == "External connection exception occurred: no such host"


def test_a_dbt_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    project, temporary = tmp_path / "project", tmp_path / "temporary"
    project.mkdir()
    temporary.mkdir()
    (project / "dbt_project.yml").write_text("name: p\nversion: 1.0.0\nprofile: default\n")
    (project / "packages.yml").write_text(f"packages: [{{git: 'file://{tmp_path}/nowhere', revision: x}}]\n")
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary)}
    with pytest.raises(ChtSyncError):
        run_dbt(["deps", f"--project-dir={project}"], environment=environment, timeout=60)
    assert list(temporary.iterdir()) == []
