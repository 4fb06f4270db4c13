"""Asks the registries of Python and Node.js which of our pinned versions have known vulnerabilities.

Exit codes: 0 all was asked and nothing is known, 1 something is known, 4 a registry could not be asked. What
was not asked never counts as well: a mirror without advisories makes pip-audit say that nothing was found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
CONSTRAINTS = CHECKOUT / "constraints.txt"
NODE_PACKAGES = CHECKOUT / "cht_sync" / "runtime" / "couchdb_server"
TIMEOUT = 300.0
"""Seconds for all questions to one registry."""
KNOWN, NOT_ASKED = 1, 4


class NotAsked(Exception):
    """Why nothing is known, in one line."""


def main() -> int:
    results = []
    for registry, ask in (("Python", python), ("Node.js", node)):
        try:
            found = ask()
        except NotAsked as why:
            print(f"{registry}: not audited: {why}")
            results.append(NOT_ASKED)
            continue
        for line in found:
            print(f"{registry}: {line}")
        if not found:
            print(f"{registry}: no known vulnerability")
        results.append(KNOWN if found else 0)
    return KNOWN if KNOWN in results else max(results)


def python() -> list[str]:
    """A line for each vulnerable version of `constraints.txt`. Raises NotAsked."""
    words = ["--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    answer = answered(program("pip-audit"), [*words, "--format", "json"])
    packages = answer.get("dependencies", [])
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if not packages or skipped:
        raise NotAsked(
            f"the registry has no advisories for {len(skipped)} of {len(packages)} packages"
            if packages
            else "pip-audit gave no list"
        )
    return [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for one in packages
        for flaw in one["vulns"]
    ]


def node() -> list[str]:
    """A line for each vulnerable package of the embedded CouchDB-protocol server. Raises NotAsked."""
    answer = answered(program("npm"), ["audit", "--json", "--package-lock-only", "--omit=dev"])
    if "vulnerabilities" not in answer:
        raise NotAsked("the registry has no advisories, or cannot be reached")
    return [
        f"{name}: {one['severity']}, in {one['range']}" for name, one in answer["vulnerabilities"].items()
    ]


def program(name: str) -> str:
    """A program beside this Python, else of the machine. Raises NotAsked."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise NotAsked(f"{name} is not installed")
    return found


def answered(command: str, words: Sequence[str]) -> dict[str, Any]:
    """The JSON that a program prints, whatever its exit code. Raises NotAsked."""
    try:
        done = subprocess.run(
            [command, *words],
            cwd=NODE_PACKAGES,
            env={**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false", "NPM_CONFIG_FETCH_RETRIES": "0"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise NotAsked("the registry cannot be reached") from None
    if not isinstance(answer, dict):
        raise NotAsked("the answer is none of an audit")
    return answer


if __name__ == "__main__":
    raise SystemExit(main())
