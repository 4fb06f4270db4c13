"""Packages in folders, ours among them, and what packages depend on."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import eventually

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import Package, PackageStore

from .git_server import PROJECT, Repository
from .warehouse import OWN_PACKAGE

MACRO = "{% macro answer() %}42{% endmacro %}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Repository(tmp_path / "small").folder


@pytest.fixture
def utilities(tmp_path: Path) -> Repository:
    project = PROJECT.replace("small", "utilities")
    return Repository(tmp_path / "utilities", {"dbt_project.yml": project, "macros/answer.sql": MACRO})


def next_package(packages: PackageStore) -> Package | None:
    assert packages.update(0.0) is None
    eventually(lambda: not packages.looking)
    return packages.update(0.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def installed(package: Package) -> str:
    return (package.project / "dbt_packages" / "utilities" / "macros" / "answer.sql").read_text()


def test_our_own_package_is_run_from_a_copy(nowhere: TransformOptions) -> None:
    before = contents(OWN_PACKAGE)
    package = PackageStore(nowhere).current()
    assert (package.origin, package.commit, package.note) == ("own", None, "")
    assert package.project.is_relative_to(nowhere.work_folder)
    assert contents(OWN_PACKAGE) == before


def test_a_folder_is_never_written_and_a_change_in_it_is_used(
    nowhere: TransformOptions, folder: Path
) -> None:
    for left_over in ("target", "logs", ".git"):
        (folder / left_over).mkdir(exist_ok=True)
        (folder / left_over / "x").write_text("x")
    (folder / "dbt_project.yml").chmod(0o444)
    (folder / "models").chmod(0o555)
    before = contents(folder)
    packages = PackageStore(replace(nowhere, url=str(folder)))
    first = packages.current()
    assert (first.origin, first.commit) == (str(folder), None)
    assert sorted(path.name for path in first.project.iterdir()) == [
        "dbt_packages",
        "dbt_project.yml",
        "models",
    ]
    assert contents(folder) == before
    assert {path.stat().st_mode & 0o600 for path in first.project.rglob("*")} == {0o600}
    (folder / "models").chmod(0o755)
    (folder / "target" / "y").write_text("y")
    assert next_package(packages) is None

    (folder / "models" / "one.sql").write_text("select 22 as n")
    second = next_package(packages)
    assert second is not None
    assert (second.project / "models" / "one.sql").read_text() == "select 22 as n"

    # The folder goes away, as a disk may: what was copied runs on, also after a restart.
    folder.rename(folder.parent / "away")
    assert next_package(packages) is None
    assert "not reachable since" in packages.note
    assert PackageStore(replace(nowhere, url=str(folder))).current().project == second.project


def test_the_work_folder_may_be_inside_of_the_package(nowhere: TransformOptions, folder: Path) -> None:
    packages = PackageStore(replace(nowhere, url=str(folder), work_folder=folder / "state" / "dbt"))
    first = packages.current()
    assert not (first.project / "state" / "dbt").exists()
    assert next_package(packages) is None


def test_what_a_package_depends_on_is_installed_and_kept_for_times_without_a_network(
    nowhere: TransformOptions, folder: Path, utilities: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = folder.parent / "beside"
    shutil.copytree(utilities.folder, beside)
    (beside / "dbt_project.yml").write_text(PROJECT.replace("small", "beside"))
    (folder / "packages.yml").write_text(
        f"packages:\n  - git: file://{utilities.folder}\n    revision: main\n  - local: ../beside\n"
    )
    before = contents(folder)
    url = str(folder)
    package = PackageStore(replace(nowhere, url=url)).current()
    assert installed(package) == MACRO
    assert (package.project / "dbt_packages" / "beside" / "macros" / "answer.sql").is_file()
    assert not any(path.is_symlink() for path in package.project.rglob("*"))
    assert contents(folder) == before

    # A new version that needs the same finds it without a network, and without dbt.
    utilities.folder.rename(utilities.folder.parent / "away")
    (folder / "models" / "one.sql").write_text("select 3 as n")
    with monkeypatch.context() as patch:
        patch.setattr(process, "run", lambda *_, **__: pytest.fail("nothing is to be started"))
        offline = PackageStore(replace(nowhere, url=url, project=folder)).current
        patch.setattr("cht_sync.transform.package.store.check", lambda *_: None)
        package = offline()
    assert installed(package) == MACRO
    assert package.note == ""

    # One that needs something else does not, and the one before runs on.
    (folder / "packages.yml").write_text(
        f"packages:\n  - git: file://{utilities.folder}\n    revision: next\n"
    )
    broken = PackageStore(replace(nowhere, url=url)).current()
    assert broken.project == package.project
    assert "cannot be used: dbt deps: " in broken.note

    # After a day a moving branch is asked for again; what was installed before does where that fails.
    (folder / "packages.yml").write_text(
        f"packages:\n  - git: file://{utilities.folder}\n    revision: main\n  - local: ../beside\n"
    )
    for cache in (nowhere.work_folder / "package" / "dependencies").iterdir():
        os.utime(cache, (0, 0))
    (folder / "models" / "one.sql").write_text("select 4444 as n")
    package = PackageStore(replace(nowhere, url=url)).current()
    assert installed(package) == MACRO
    assert "its dependencies cannot be brought up to date (dbt deps: " in package.note
    assert "those installed before are used" in package.note


def test_dependencies_that_cannot_be_had_at_first_are_an_error(
    nowhere: TransformOptions, folder: Path
) -> None:
    (folder / "dependencies.yml").write_text("packages:\n  - local: ../none\n")
    with pytest.raises(ChtSyncError, match=r"dependencies\.yml: there is no folder"):
        PackageStore(replace(nowhere, url=str(folder))).current()


def test_dependencies_that_a_package_brings_along_are_used_as_they_are(
    nowhere: TransformOptions, folder: Path, utilities: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "run", lambda *_, **__: pytest.fail("nothing is to be started"))
    (folder / "packages.yml").write_text("packages:\n  - git: https://git.example.org/utilities.git\n")
    (folder / "dbt_project.yml").write_text(PROJECT + "packages-install-path: vendored\n")
    shutil.copytree(utilities.folder, folder / "vendored" / "utilities")
    assert installed(PackageStore(replace(nowhere, url=str(folder))).current()) == MACRO
