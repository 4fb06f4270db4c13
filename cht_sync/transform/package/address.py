"""What CHT_PIPELINE_BRANCH_URL means: a folder, a tarball, or a git repository at a revision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cht_sync.errors import SettingsError
from cht_sync.values import Invalid, is_tarball, package_address, shown

VARIABLE = "CHT_PIPELINE_BRANCH_URL"
OWN = "own"
"""The origin of the package that comes with cht-sync."""


class Kind(Enum):
    """How a package is got."""

    FOLDER = "folder"
    TARBALL = "tarball"
    GIT = "git"


@dataclass(frozen=True)
class Address:
    """Where a package comes from.

    `location` is an absolute path, or a URL without fragment; `revision` a branch, a tag or a commit
    of 40 hex digits, empty for a repository's default branch. `origin` is what logs and tables say: it
    holds neither credentials nor a query.
    """

    kind: Kind
    location: str
    origin: str
    revision: str = ""

    @property
    def is_remote(self) -> bool:
        return self.location.startswith(("https:", "http:"))

    @property
    def path(self) -> Path:
        """The folder or the tarball, where it is on this machine."""
        return Path(self.location)


def parse_address(url: str) -> Address:
    """Read an address. Raises SettingsError for one that cannot be used."""
    try:
        package_address(url)
    except Invalid as wrong:
        raise SettingsError([f"{VARIABLE}: {shown(url)} {wrong}"]) from None
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme in ("https", "http"):
        return _remote(url)
    if scheme != "file":
        return _local(Path(url).expanduser().absolute())
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.fragment:
        return Address(Kind.GIT, str(path), f"file://{path}#{parts.fragment}", parts.fragment)
    return _local(path)


def check_address(url: str) -> None:
    """Refuse what can be seen to be no package without asking another machine. Raises SettingsError."""
    if not url:
        return
    address = parse_address(url)
    if address.is_remote:
        return
    if not address.path.exists():
        raise SettingsError([f"{VARIABLE}: there is no {address.path}"])
    if address.kind is Kind.FOLDER and not (address.path / "dbt_project.yml").is_file():
        raise SettingsError([f"{VARIABLE}: {address.path} holds no dbt_project.yml"])
    if address.kind is Kind.GIT and not address.path.is_dir():
        raise SettingsError([f"{VARIABLE}: {address.path} is no git repository"])


def _remote(url: str) -> Address:
    parts = urlsplit(url)
    plain = parts._replace(fragment="", query="").geturl()
    if is_tarball(parts.path):
        return Address(Kind.TARBALL, url, plain)
    origin = f"{plain}#{parts.fragment}" if parts.fragment else plain
    return Address(Kind.GIT, plain, origin, parts.fragment)


def _local(path: Path) -> Address:
    if is_tarball(path.name) and not path.is_dir():
        return Address(Kind.TARBALL, str(path), str(path))
    bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    if bare and not (path / "dbt_project.yml").is_file():
        return Address(Kind.GIT, str(path), f"file://{path}")
    return Address(Kind.FOLDER, str(path), str(path))
