from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from cht_sync.errors import SettingsError
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import check_address
from cht_sync.transform.package.address import Address, Kind, parse_address


def test_nothing_is_our_own_package() -> None:
    check_address("")


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_local_folder_is_taken(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "my package"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text("name: mine\n")
    url = form.format(str(folder) if form == "{}" else quote(str(folder)))
    check_address(url)
    address = parse_address(url)
    assert (address.kind, address.path, address.origin) == (Kind.FOLDER, folder, str(folder))


@pytest.mark.parametrize("url", ["{}", "file://{}", "{}/none", "file://{}/none#main", "{}/none.tar.gz"])
def test_what_is_seen_to_be_no_package_is_refused_at_once(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"CHT_PIPELINE_BRANCH_URL: (.* holds no dbt_project\.yml|there is no)"
    ):
        check_address(url.format(tmp_path))


@pytest.mark.parametrize(
    ("url", "kind", "location", "revision", "origin"),
    [
        (
            "https://example.org/owner/repo.git#main",
            Kind.GIT,
            "https://example.org/owner/repo.git",
            "main",
            "https://example.org/owner/repo.git#main",
        ),
        ("https://example.org/owner/repo", Kind.GIT, "https://example.org/owner/repo", "", None),
        ("file:///srv/a%20b.git#v1", Kind.GIT, "/srv/a b.git", "v1", "file:///srv/a b.git#v1"),
        (
            "https://example.org/p.tar.gz?token=t0ken",
            Kind.TARBALL,
            "https://example.org/p.tar.gz?token=t0ken",
            "",
            "https://example.org/p.tar.gz",
        ),
        ("file:///srv/p.tgz", Kind.TARBALL, "/srv/p.tgz", "", "/srv/p.tgz"),
    ],
)
def test_an_address_is_read(url: str, kind: Kind, location: str, revision: str, origin: str | None) -> None:
    assert parse_address(url) == Address(kind, location, origin or location, revision)


def test_the_token_of_an_address_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        check_address("https://user:t0ken@example.org/repo.git")
    assert "t0ken" not in f"{refused.value} {refused.value.hint}"
    assert "CHT_PIPELINE_TOKEN" in str(refused.value)


def test_options_show_no_password(tmp_path: Path) -> None:
    options = TransformOptions(
        tmp_path, tmp_path, tmp_path, host="h", port=1, user="u", password="s3cret", database="d"
    )
    assert "s3cret" not in repr(options)


def test_importing_the_loop_does_not_import_dbt() -> None:
    program = "import sys, cht_sync.transform.loop; sys.exit('dbt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False).returncode == 0
