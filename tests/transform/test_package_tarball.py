"""Packages in tarballs: of this machine and of a server, and those that mean harm."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cht_sync.errors import ChtSyncError
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import PackageStore
from cht_sync.transform.package import unpack as unpacking
from cht_sync.transform.package.unpack import unpack

from .git_server import PROJECT, serving
from .test_package_git import TOKEN, next_package


def tarball(path: Path, files: dict[str, str], *, root: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("root", ["", "cht-pipeline-1.0/", "./"])
def test_a_tarball_is_taken_also_where_it_consists_of_one_folder(
    root: str, nowhere: TransformOptions, tmp_path: Path
) -> None:
    path = tarball(tmp_path / "small.tar.gz", {"dbt_project.yml": PROJECT, "models/one.sql": "x"}, root=root)
    package = PackageStore(replace(nowhere, url=str(path))).current()
    assert (package.project / "models" / "one.sql").read_text() == "x"
    assert len(package.commit or "") == 64
    assert package.origin == str(path)


def test_a_tarball_of_a_server_is_downloaded_again_only_when_it_changed(
    nowhere: TransformOptions, tmp_path: Path
) -> None:
    files = {"dbt_project.yml": PROJECT, "models/one.sql": "select 1 as n"}
    path = tarball(tmp_path / "small.tar.gz", files)
    with serving(tmp_path) as server:
        server.authorization = f"Bearer {TOKEN}"
        url = f"{server.url}/small.tar.gz"
        with pytest.raises(ChtSyncError, match="the server answered 401") as refused:
            PackageStore(replace(nowhere, url=url)).current()
        assert "CHT_PIPELINE_TOKEN" in (refused.value.hint or "")

        packages = PackageStore(replace(nowhere, url=url, token=TOKEN))
        before = packages.current()
        packages.update(0.0)
        assert next_package(packages, 100.0) is None
        tarball(path, {**files, "models/one.sql": "select 2 as n"})
        after = next_package(packages, 200.0)
        assert after is not None
        assert after.commit != before.commit
        assert (after.project / "models" / "one.sql").read_text() == "select 2 as n"
        path.unlink()
        server.authorization = "nobody"
        assert next_package(packages, 300.0) is None
        assert "the server answered 401" in packages.note
    work = [file.read_text(errors="replace") for file in nowhere.work_folder.rglob("*") if file.is_file()]
    assert [text for text in work if TOKEN in text] == []


def test_a_token_is_sent_to_no_other_host(nowhere: TransformOptions, tmp_path: Path) -> None:
    tarball(tmp_path / "small.tar.gz", {"dbt_project.yml": PROJECT})
    with serving(tmp_path) as other, serving(tmp_path) as server:
        server.redirect = other.url
        packages = replace(nowhere, url=f"{server.url}/small.tar.gz")
        with pytest.raises(ChtSyncError, match="leads on to another host") as refused:
            PackageStore(replace(packages, token=TOKEN)).current()
        assert other.url.removeprefix("http://") in str(refused.value)
        assert other.seen == []
        assert [authorization for _, authorization in server.seen] == [f"Bearer {TOKEN}"]
        assert PackageStore(packages).current().commit
        assert [authorization for _, authorization in other.seen] == [""]


def test_a_link_in_the_place_of_a_folder_is_refused_in_one_line(
    nowhere: TransformOptions, tmp_path: Path
) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as writing:
        writing.addfile(file("p/dbt_project.yml"))
        writing.addfile(file("p/macros", type=tarfile.SYMTYPE, linkname="models"))
        writing.addfile(file("p/macros/one.sql"))
    with pytest.raises(ChtSyncError) as refused:
        PackageStore(replace(nowhere, url=str(archive))).current()
    assert (
        str(refused.value)
        == f"package {archive}: the archive holds a link and something else of one name: 'p/macros'"
    )


def test_what_is_no_tarball_is_refused(nowhere: TransformOptions, tmp_path: Path) -> None:
    for content in (b"", b"no tarball", b"\x1f\x8b" + b"no gzip" * 100):
        path = tmp_path / "small.tar.gz"
        path.write_bytes(content)
        with pytest.raises(ChtSyncError, match=r"the archive cannot be unpacked|holds no dbt_project"):
            PackageStore(replace(nowhere, url=str(path))).current()


def file(name: str, **others: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for attribute, value in others.items():
        setattr(member, attribute, value)
    return member


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([file("../outside")], "a path that leads outside"),
        ([file("/etc/outside")], "a path that leads outside"),
        ([file("models/../../outside")], "a path that leads outside"),
        ([file("link", type=tarfile.SYMTYPE, linkname="../outside")], "a link that leads outside"),
        ([file("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "a link that leads outside"),
        (
            [
                file("a", type=tarfile.SYMTYPE, linkname="."),
                file("b", type=tarfile.SYMTYPE, linkname="a/.."),
            ],
            "a link that leads outside",
        ),
        (
            [file("link", type=tarfile.SYMTYPE, linkname=".."), file("link/outside")],
            "of one name",
        ),
        ([file("link", type=tarfile.LNKTYPE, linkname="../../etc/passwd")], "a path that leads outside"),
        ([file("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "neither file nor folder"),
        ([file("pipe", type=tarfile.FIFOTYPE)], "neither file nor folder"),
    ],
)
def test_nothing_gets_outside_of_the_folder(
    members: list[tarfile.TarInfo], reason: str, tmp_path: Path
) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as writing:
        for member in members:
            writing.addfile(member)
    (tmp_path / "deep").mkdir()
    with pytest.raises(ChtSyncError, match=reason):
        unpack(archive, tmp_path / "deep" / "into")
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["into"]


def test_links_inside_are_kept_and_lead_to_what_they_name(tmp_path: Path) -> None:
    archive = tmp_path / "links.tar.gz"
    with tarfile.open(archive, "w:gz") as writing:
        content = file("models/one.sql", size=1, mode=0o777)
        writing.addfile(content, io.BytesIO(b"x"))
        writing.addfile(file("models/two.sql", type=tarfile.SYMTYPE, linkname="one.sql"))
        writing.addfile(file("three.sql", type=tarfile.LNKTYPE, linkname="models/one.sql"))
    unpack(archive, tmp_path / "into")
    assert (tmp_path / "into" / "models" / "two.sql").read_text() == "x"
    assert (tmp_path / "into" / "three.sql").read_text() == "x"
    assert (tmp_path / "into" / "models" / "one.sql").stat().st_mode & 0o777 == 0o600


def bomb(writing: tarfile.TarFile) -> None:
    writing.addfile(file("zeros", size=2_000_000), io.BytesIO(bytes(2_000_000)))


def long_header(writing: tarfile.TarFile) -> None:
    writing.addfile(file("a", pax_headers={"comment": "0" * 2_000_000}))


def many_files(writing: tarfile.TarFile) -> None:
    for number in range(30):
        writing.addfile(file(str(number)))


@pytest.mark.parametrize("write", [bomb, long_header, many_files])
def test_an_archive_that_would_fill_the_disk_is_refused(
    write: Callable[[tarfile.TarFile], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(unpacking, "MOST_FILES", 20)
    archive = tmp_path / "bomb.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as writing:
        write(writing)
    assert archive.stat().st_size < 20_000
    with pytest.raises(ChtSyncError, match=r"larger than 1 MB|more than 20 files"):
        unpack(archive, tmp_path / "into")
