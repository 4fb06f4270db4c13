"""dbt in a process of its own, for work that may fail, hang or run what a package brings along."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cht_sync import process
from cht_sync.errors import ChtSyncError

PROGRAM = "import os; os.dup2(1, 2); from dbt.cli.main import cli; cli()"
"""Errors and warnings on one stream: which of them dbt uses for what is its own affair."""
RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)")
"""The last line of a traceback."""
MOST_SHOWN = 600
"""Characters of what dbt said."""


def run_dbt(words: Sequence[str], *, environment: Mapping[str, str], timeout: float) -> None:
    """Run dbt to its end; nothing of it stays but what the command is for.

    Raises ChtSyncError with what dbt said, in one line.
    """
    with tempfile.TemporaryDirectory(prefix="cht-sync-dbt-") as work:
        command = [
            # Without the present folder on Python's path, where a package could have put a module.
            sys.executable, "-P", "-W", "ignore", "-c", PROGRAM,
            "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check",
            "--log-level=error", "--log-level-file=none", f"--log-path={work}",
            *words,
        ]  # fmt: skip
        try:
            # dbt leaves its downloads behind where it fails.
            ours = {
                **environment,
                "DBT_TARGET_PATH": f"{work}/target",
                "DBT_DOWNLOADS_DIR": f"{work}/downloads",
            }
            process.run(command, env=ours, cwd=Path(work), timeout=timeout)
        except ChtSyncError as error:
            raise ChtSyncError(one_line(error.message)) from error


def one_line(message: str) -> str:
    """What a program said on several lines, without the times that dbt puts before each.

    Of a traceback only what was raised in the end.
    """
    said = re.sub(r"^python\S* ended with exit code \d+: ", "", message)
    lines = [re.sub(r"^\d\d:\d\d:\d\d\s+", "", line).strip() for line in said.splitlines()]
    if raised := [found[1] for line in lines if (found := RAISED.match(line))]:
        lines = raised[-1:]
    return " ".join(line for line in lines if line)[:MOST_SHOWN]
