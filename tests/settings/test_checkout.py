"""Where cht-sync finds its own files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cht_sync.settings import CHECKOUT, find_checkout


def made(folder: Path) -> Path:
    (folder / "logstash" / "pipeline").mkdir(parents=True)
    return folder


def test_an_installed_package_finds_the_checkout_upwards_from_the_current_folder(tmp_path: Path) -> None:
    checkout = made(tmp_path / "checkout")
    below = checkout / "docs" / "deep"
    below.mkdir(parents=True)
    assert find_checkout({}, package=tmp_path / "site-packages", current=below) == checkout


def test_a_checkout_that_is_named_wins(tmp_path: Path) -> None:
    named, other = made(tmp_path / "named"), made(tmp_path / "other")
    environ = {"CHT_SYNC_PROJECT_DIR": str(named)}
    assert find_checkout(environ, package=other, current=other) == named


def test_the_option_names_the_checkout_from_any_folder(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "CHT_SYNC_HOME"}
    for option in (["--project-dir", str(CHECKOUT)], [f"--project-dir={CHECKOUT}"]):
        words = [sys.executable, "-m", "cht_sync", *option, "render-config"]
        done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
        assert "couchdb_changes" in done.stdout


def test_a_folder_that_is_no_checkout_is_refused_with_the_way_out(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cht_sync", "--project-dir", str(tmp_path), "status"]
    environ = {name: value for name, value in os.environ.items() if name != "CHT_SYNC_HOME"}
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is no checkout of cht-sync" in done.stderr
    assert "--project-dir" in done.stderr
