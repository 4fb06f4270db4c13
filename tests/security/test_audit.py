"""An audit that could not ask says so, and never that nothing was found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
NOTHING_ANSWERS = "http://127.0.0.1:1/"
ALL_SKIPPED = {"dependencies": [{"name": "lark", "skip_reason": "Dependency not found"}]}
CLEAN = {"dependencies": [{"name": "lark", "version": "1.2", "vulns": []}]}
FLAW = {"id": "CVE-2099-1", "fix_versions": ["1.3"]}
VULNERABLE = {"dependencies": [{"name": "lark", "version": "1.2", "vulns": [FLAW]}]}
NO_ENDPOINT = {"statusCode": 405, "body": "", "error": {"summary": "", "detail": ""}}
NODE_CLEAN = {"vulnerabilities": {}, "metadata": {}}
NODE_VULNERABLE = {"vulnerabilities": {"express": {"severity": "high", "range": "<4.20"}}}


def audit(folder: Path, **said: object) -> subprocess.CompletedProcess[str]:
    """Run it with programs that print these answers; a text is printed as it is."""
    for name, answer in said.items():
        program = folder / name.replace("_", "-")
        text = answer if isinstance(answer, str) else json.dumps(answer)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit 1\n")
        program.chmod(0o755)
    python = folder / "python"
    if not python.exists():
        # Programs beside the interpreter go first.
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
    code = f"import sys; sys.executable = {str(python)!r}; sys.argv = ['audit']; import runpy; "
    code += f"runpy.run_path({str(CHECKOUT / '.ci' / 'audit.py')!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("python", "node", "code", "said"),
    [
        (CLEAN, NODE_CLEAN, 0, ["Python: no known vulnerability", "Node.js: no known vulnerability"]),
        (VULNERABLE, NODE_CLEAN, 1, ["Python: lark 1.2: CVE-2099-1, mended in 1.3"]),
        (CLEAN, NODE_VULNERABLE, 1, ["Node.js: express: high, in <4.20"]),
        (VULNERABLE, NO_ENDPOINT, 1, ["CVE-2099-1", "Node.js: not audited"]),
        (ALL_SKIPPED, NODE_CLEAN, 4, ["Python: not audited: the registry has no advisories for 1 of 1"]),
        (CLEAN, NO_ENDPOINT, 4, ["Node.js: not audited: the registry has no advisories"]),
        ("Traceback", "", 4, ["Python: not audited: the registry cannot be reached", "Node.js: not audited"]),
        ({"dependencies": []}, NODE_CLEAN, 4, ["Python: not audited"]),
    ],
)
def test_what_was_not_asked_is_never_well(
    tmp_path: Path, python: object, node: object, code: int, said: list[str]
) -> None:
    done = audit(tmp_path, pip_audit=python, npm=node)
    assert (done.returncode, done.stderr) == (code, "")
    for text in said:
        assert text in done.stdout
    assert len(done.stdout.splitlines()) == 2


def test_offline_it_says_so_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "NPM_CONFIG_REGISTRY"):
        monkeypatch.setenv(name, NOTHING_ANSWERS)
    done = subprocess.run(
        [sys.executable, CHECKOUT / ".ci" / "audit.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert [line.split(":")[:2] for line in done.stdout.splitlines()] == [
        ["Python", " not audited"],
        ["Node.js", " not audited"],
    ]
    assert done.stderr == ""
