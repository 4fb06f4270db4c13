"""Packages in git repositories: which commit is taken, what is asked of the network, where secrets are."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import Package, PackageStore

from .git_server import PROJECT, Repository, serving
from .warehouse import OWN_PACKAGE

PROFILES = OWN_PACKAGE.parent.parent
TOKEN = "t0ken-of-nobody"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repositories" / "small")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that is run."""
    seen: list[list[str]] = []
    run = process.run

    def recorded(command: Any, **others: Any) -> str:
        seen.append([str(part) for part in command])
        return run(command, **others)

    monkeypatch.setattr(process, "run", recorded)
    return seen


def store(options: TransformOptions, url: str) -> PackageStore:
    return PackageStore(replace(options, url=url))


def next_package(packages: PackageStore, now: float) -> Package | None:
    """Let the store look, and give what it found."""
    assert packages.update(now) is None
    eventually(lambda: not packages.looking)
    return packages.update(now)


def model(package: Package, name: str = "one") -> str:
    return (package.project / "models" / f"{name}.sql").read_text()


def test_a_branch_a_tag_a_commit_and_the_default_branch_are_taken(
    repository: Repository, nowhere: TransformOptions
) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "-a", "v1", "-m", "first")
    repository.git("tag", "main")  # a branch wins over a tag of its name
    second = repository.commit({"models/one.sql": "select 2 as n"})
    bare = repository.folder.parent / "bare.git"
    repository.git("clone", "--quiet", "--bare", ".", str(bare))
    for url, commit in (
        (f"file://{repository.folder}#main", second),
        (f"file://{repository.folder}#v1", first),
        (f"file://{repository.folder}#{first}", first),
        (f"file://{bare}", second),
        (str(bare), second),
    ):
        package = store(nowhere, url).current()
        assert (package.commit, package.note) == (commit, "")
        assert model(package) == f"select {1 if commit == first else 2} as n"
        assert not list(package.project.rglob(".git"))


def test_a_revision_that_is_not_there_is_named(repository: Repository, nowhere: TransformOptions) -> None:
    with pytest.raises(ChtSyncError, match="no branch and no tag 'none'") as failed:
        store(nowhere, f"file://{repository.folder}#none").current()
    assert failed.value.hint == "A commit is named by all of its 40 digits."


def test_a_new_commit_is_used_and_until_then_nothing_is_fetched(
    repository: Repository, nowhere: TransformOptions, commands: list[list[str]]
) -> None:
    first = store(nowhere, f"file://{repository.folder}#main")
    before = first.current()
    commands.clear()
    assert first.update(1000.0) is None
    assert commands == []
    assert next_package(first, 1061.0) is None
    assert [command[1] for command in commands] == ["ls-remote"]

    commit = repository.commit({"models/one.sql": "select 2 as n"})
    assert first.update(1062.0) is None  # not yet time to look
    after = next_package(first, 1130.0)
    assert after is not None
    assert (after.commit, model(after), model(before)) == (commit, "select 2 as n", "select 1 as n")
    assert store(nowhere, f"file://{repository.folder}#main").current() == after

    repository.commit({"models/one.sql": "select 3 as n"})
    assert model(next_package(first, 1200.0) or after) == "select 3 as n"
    assert not before.project.exists()
    assert after.project.exists()  # another process may still read it


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"models/two.sql": "select * from {{ ref('none') }}"}, "none"),
        ({"dbt_project.yml": "name: [\n"}, "dbt_project.yml cannot be read"),
        ({"packages.yml": "packages:\n  - local: ../none\n"}, "leads out of the package"),
    ],
)
def test_a_version_that_is_broken_leaves_the_one_before_running(
    repository: Repository, nowhere: TransformOptions, files: dict[str, str], reason: str,
    caplog: pytest.LogCaptureFixture, commands: list[list[str]],
) -> None:  # fmt: skip
    url = f"file://{repository.folder}#main"
    running = store(nowhere, url)
    before = running.current()
    running.update(0.0)
    commit = repository.commit(files)
    assert next_package(running, 100.0) is None
    assert running.current().project == before.project
    assert f"version {commit[:12]} cannot be used" in running.note
    assert reason in running.note
    assert caplog.text.count(commit[:12]) == 1
    # Neither is it fetched again at every look, nor does it come back with a restart.
    commands.clear()
    assert next_package(running, 200.0) is None
    assert [command[1] for command in commands] == ["ls-remote"]
    assert store(nowhere, url).current().project == before.project

    repository.git("rm", "-q", "-r", "--ignore-unmatch", "models/two.sql", "packages.yml")
    repository.commit({"dbt_project.yml": PROJECT})
    assert next_package(running, 300.0) is not None
    assert running.note == ""


def test_without_dbt_project_there_is_no_package(repository: Repository, nowhere: TransformOptions) -> None:
    repository.git("rm", "-q", "dbt_project.yml")
    repository.commit({"sub/dbt_project.yml": PROJECT})
    with pytest.raises(ChtSyncError, match=r"holds no dbt_project\.yml in its root"):
        store(nowhere, f"file://{repository.folder}#main").current()


def test_offline_the_last_good_copy_is_used_and_said_once(
    repository: Repository, nowhere: TransformOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = f"file://{repository.folder}#main"
    commit = store(nowhere, url).current().commit
    away = repository.folder.rename(repository.folder.parent / "away")
    later = store(nowhere, url)
    package = later.current()
    assert package.commit == commit
    assert "not reachable since" in package.note
    assert f"the copy of version {str(commit)[:12]} is used" in package.note
    later.update(0.0)
    assert next_package(later, 100.0) is None
    assert caplog.text.count("not reachable since") == 1

    away.rename(repository.folder)
    assert next_package(later, 200.0) is None
    assert later.note == ""
    assert "all is well again" in caplog.text

    # A copy of another address is no copy of this one.
    with pytest.raises(ChtSyncError, match="package file:///none"):
        store(nowhere, "file:///none#main").current()


def test_the_token_opens_a_private_repository_and_is_nowhere_else(
    repository: Repository,
    nowhere: TransformOptions,
    commands: list[list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(repository.folder.parent) as server:
        server.demand("x-access-token", TOKEN)
        url = f"{server.url}/small/.git#main"
        with pytest.raises(ChtSyncError) as refused:
            store(nowhere, url).current()
        assert "CHT_PIPELINE_TOKEN" in (refused.value.hint or "")
        package = store(replace(nowhere, token=TOKEN), url).current()
    assert package.commit == repository.git("rev-parse", "HEAD")
    everything = [str(package), caplog.text, str(commands), repr(replace(nowhere, token=TOKEN))]
    everything += [
        path.read_text(errors="replace") for path in nowhere.work_folder.rglob("*") if path.is_file()
    ]
    assert [text for text in everything if TOKEN in text] == []


def test_the_token_of_another_user_is_given_with_the_users_name(
    repository: Repository, nowhere: TransformOptions
) -> None:
    with serving(repository.folder.parent) as server:
        server.demand("deploy-1", TOKEN)
        assert store(replace(nowhere, token=f"deploy-1:{TOKEN}"), f"{server.url}/small/.git").current().commit


def test_a_redirection_does_not_take_the_token_along(
    repository: Repository, nowhere: TransformOptions
) -> None:
    with serving(repository.folder.parent) as other, serving(repository.folder.parent) as server:
        server.redirect = other.url
        with pytest.raises(ChtSyncError, match="30"):
            store(replace(nowhere, token=TOKEN), f"{server.url}/small/.git").current()
        assert other.seen == []
        assert store(nowhere, f"{server.url}/small/.git").current().commit


def test_without_git_the_error_says_how_to_get_it(
    repository: Repository, nowhere: TransformOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ChtSyncError, match="git is not installed") as failed:
        store(nowhere, f"file://{repository.folder}#main").current()
    assert failed.value.hint == "apt-get install git"


def test_other_protocols_hooks_and_variables_of_git_are_off(
    repository: Repository, nowhere: TransformOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"file://{repository.folder}#main"
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    assert store(nowhere, url).current().commit
    assert not (tmp_path / "trace").exists()
    (tmp_path / "home").mkdir()
    run = tmp_path / "run"
    (tmp_path / "home" / ".gitconfig").write_text(
        f'[url "ext::sh -c touch% {run}% #"]\n  insteadOf = file://\n[protocol "ext"]\n  allow = always\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ChtSyncError, match="transport 'ext' not allowed"):
        PackageStore(replace(nowhere, url=url, work_folder=tmp_path / "other")).current()
    assert not run.exists()


def test_a_kill_during_a_fetch_leaves_no_half_copy(
    repository: Repository, nowhere: TransformOptions, tmp_path: Path
) -> None:
    url = f"file://{repository.folder}#main"
    before = store(nowhere, url).current()
    commit = repository.commit({"models/one.sql": "select 2 as n"})
    stuck = tmp_path / "bin" / "git"
    stuck.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    stuck.write_text(
        f'#!/bin/sh\ncase "$*" in *archive*) touch {tmp_path}/there; exec sleep 600;; esac\n'
        f'exec {real} "$@"\n'
    )
    stuck.chmod(0o755)
    program = (
        "import sys; from pathlib import Path; from cht_sync.transform.options import TransformOptions as O\n"
        "from cht_sync.transform.package import PackageStore\n"
        f"work = Path({str(nowhere.work_folder)!r})\n"
        "PackageStore(O(project=Path('/'), profiles=Path('/'), work_folder=work,"
        f" host='h', port=1, user='u', password='p', database='d', url={url!r})).current()\n"
    )
    environment = {**os.environ, "PATH": f"{stuck.parent}:{os.environ['PATH']}"}
    fetching = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        eventually((tmp_path / "there").exists)
    finally:
        fetching.send_signal(signal.SIGKILL)
        fetching.wait()
    away = repository.folder.rename(repository.folder.parent / "away")
    assert model(store(nowhere, url).current()) == model(before) == "select 1 as n"
    away.rename(repository.folder)
    after = store(nowhere, url).current()
    assert (after.commit, model(after)) == (commit, "select 2 as n")
    assert [path.name for path in (nowhere.work_folder / "package" / "versions").glob(".*")] == []
