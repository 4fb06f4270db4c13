from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cht_sync.errors import SettingsError
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import locate_package

from .warehouse import OWN_PACKAGE


@pytest.mark.parametrize("unset", [None, ""])
def test_unset_means_our_own_package(unset: str | None) -> None:
    assert locate_package(unset, OWN_PACKAGE) == OWN_PACKAGE


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_local_folder_is_taken(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text("name: mine\n")
    assert locate_package(form.format(folder), OWN_PACKAGE) == folder


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CHT_PIPELINE_BRANCH_URL: .* holds no dbt_project\.yml"):
        locate_package(str(tmp_path), OWN_PACKAGE)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/owner/repo.git#main",
        "git@example.org:owner/repo.git",
        "file:///srv/repo.git#main",
        "file://server/share",
    ],
)
def test_a_git_address_is_refused_in_so_many_words(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        locate_package(url, OWN_PACKAGE)
    assert refused.value.problems[0].startswith("CHT_PIPELINE_BRANCH_URL: ")


def test_the_token_of_an_address_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        locate_package("https://user:t0ken@example.org/repo.git", OWN_PACKAGE)
    assert "t0ken" not in f"{refused.value} {refused.value.hint}"


def test_options_show_no_password(tmp_path: Path) -> None:
    options = TransformOptions(
        tmp_path, tmp_path, tmp_path, host="h", port=1, user="u", password="s3cret", database="d"
    )
    assert "s3cret" not in repr(options)


def test_importing_the_loop_does_not_import_dbt() -> None:
    program = "import sys, cht_sync.transform.loop; sys.exit('dbt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False).returncode == 0
