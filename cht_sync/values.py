"""Texts of settings turned into checked values.

Each function takes the text and returns the value, or raises Invalid with what is wrong with it, to be
put behind the variable's name.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import yaml

POSTGRES_NAME_LIMIT = 63
"""Bytes; PostgreSQL would cut a longer name without a word."""
DATABASE_NAME = re.compile(r"[a-z_][a-z0-9_$()+/-]*")
"""CouchDB's rule for names of databases (its documentation, "Create database")."""
OWN_TABLES = (
    "cht_sync_state",
    "couchdb_progress",
    "dead_letters",
    "replaced_values",
    "cht_sync_loads",
    "cht_sync_load_chunks",
    "cht_sync_heartbeats",
    "cht_sync_migrations",
)
RESERVED_DATABASE_NAMES = frozenset((*OWN_TABLES, "all_documents"))
"""Tables and views of our own, beside which a database of that name would have no place."""

URL_PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
"""RFC 3986, section 3.3: the characters of a path, without braces, so that `${` stays the engine's."""


NEAR_SUFFIXES = (
    "corp", "home", "home.arpa", "internal", "intranet", "lan", "local", "localdomain", "localhost",
    "private", "svc",
)  # fmt: skip
"""Ends of names that are only used inside of a network: RFC 2606, 6762, 8375, ICANN's .internal, habits."""

FIELD_NAME = re.compile(r"""[^][\x00-\x20\x7f"'\\%${}#.,]+""")
"""What a name in a field reference may be made of, between quotes of a configuration."""
KEPT_FIELDS = frozenset({"_id", "_rev", "_deleted"})


class Invalid(Exception):
    """What a value should have been."""


def shown(value: str) -> str:
    """A refused value on one line, without a query, or a password that was put before a host by mistake."""
    value = value.encode(errors="backslashreplace").decode()
    before, _at, after = value.rpartition("@")
    if "?" in before:  # which of both the @ belongs to cannot be told
        return '"***"'
    plain = re.sub(r"\?[^#]*", "?***", after, count=1)
    return json.dumps(f"***@{plain}" if before else plain, ensure_ascii=False)


def utf_8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # variables of the shell may hold any bytes
        raise Invalid("is not UTF-8 text") from error
    return value


def whole_number(value: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", value):
        raise Invalid("is no whole number from 1 to 999999999")
    return int(value)


def whole_number_or_none(value: str) -> int:
    """As `whole_number`, and 0."""
    return 0 if re.fullmatch(r"0+", value) else whole_number(value)


def port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
        raise Invalid("is no port (1 to 65535)")
    return int(value)


def seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise Invalid("is no number of seconds")
    return seconds


def seconds_or_never(value: str) -> float:
    return 0.0 if re.fullmatch(r"0(\.0*)?", value) else seconds(value)


def words(value: str) -> tuple[str, ...]:
    """What spaces separate: dbt's selectors may contain commas."""
    return tuple(value.split())


def mapping(value: str) -> dict[str, Any]:
    """A YAML or JSON mapping, as dbt's `--vars` takes it."""
    try:
        found = yaml.safe_load(value)
        json.dumps(found, allow_nan=False)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise Invalid("is no mapping in YAML or JSON (dates in quotes)")
    return found


def yes_or_no(value: str) -> bool:
    if value.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise Invalid("is neither true nor false")
    return value.lower() in {"true", "1", "yes"}


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise Invalid(f"is none of {', '.join(choices)}")
        return value

    return parse


def host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", value):
        raise Invalid("is no host name (give no scheme, port or path)")
    return value


def endpoint(value: str) -> str:
    parts = re.fullmatch(rf"[A-Za-z0-9._-]+:([0-9]+)(/{URL_PATH})?", value)
    if parts is None:
        raise Invalid("is not of the form host:port or host:port/path")
    port(parts[1])
    return value.rstrip("/")


def tiles(value: str) -> str:
    """The address of map tiles; its host goes into the rules of what pages may load."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._~@&=%/{}?-]*", value):
        raise Invalid("is no http(s) address")
    if not all(part in value for part in ("{z}", "{x}", "{y}")):
        raise Invalid("does not say where {z}, {x} and {y} belong")
    return value


def path_prefix(value: str) -> str:
    if not re.fullmatch(URL_PATH, value):
        raise Invalid("is no path of a URL (percent-encode what is special)")
    return "/" + value.strip("/") if value.strip("/") else ""


def address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise Invalid("is no IPv4 address") from None


def memory(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}[bkmg]?", value):
        raise Invalid("is no size (a number with b, k, m or g)")
    return value


def cpus(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,2})?", value):
        raise Invalid("is no number of processors (0 to 999.99)")
    return float(value)


def certificates(value: str) -> str:
    """A path; whether certificates are there is looked at where it is known what it is relative to."""
    if not value.isprintable():
        raise Invalid("is no path of a file")
    return value


def project_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        raise Invalid("is no name of a Compose project (a-z, 0-9, _ and -)")
    return value


def image(value: str) -> str:
    """A reference as Docker's documentation of `docker image tag` describes it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?", value):
        raise Invalid("is no name of an image")
    return value


def identifier(value: str) -> str:
    if value.startswith("pg_"):
        raise Invalid("begins with pg_, as PostgreSQL's own names do")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$-]*", value) or len(value) > POSTGRES_NAME_LIMIT:
        raise Invalid(f"is no name for PostgreSQL (letters, digits, _ $ -, at most {POSTGRES_NAME_LIMIT})")
    return value


def model_table(value: str) -> str:
    if value in OWN_TABLES:
        raise Invalid("is a name that cht-sync uses itself")
    if DATABASE_NAME.fullmatch(value) and len(value) <= POSTGRES_NAME_LIMIT:
        return value
    return identifier(value)


def database_that_names_roles(value: str) -> str:
    longest_suffix = "_authenticator"
    if len(identifier(value)) + len(longest_suffix) > POSTGRES_NAME_LIMIT:
        raise Invalid(
            f"is longer than {POSTGRES_NAME_LIMIT - len(longest_suffix)} bytes (roles are named after it)"
        )
    return value


GIT_REVISION = re.compile(r"(?![-/.])(?!.*(?:\.\.|//|@\{|\.lock$|[/.]$))[^\x00-\x20\x7f~^:?*\[\\]+")
"""A branch, tag or commit: git's rule for names of references (git-check-ref-format), and no option."""


def package_address(value: str) -> str:
    """A folder, a tarball, or a git repository with `#branch`, `#tag` or `#commit`; see docs/packages.md."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise Invalid("has a control character in it")
    scheme, colon, _ = value.partition(":")
    if not colon or "/" in scheme:
        return value  # a path
    if scheme.lower() not in {"https", "http", "file"}:
        raise Invalid(
            "is neither a path, file:// nor https:// (a private repository: with CHT_PIPELINE_TOKEN)"
        )
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise Invalid("is no address") from None
    if parts.username is not None or parts.password is not None:
        raise Invalid("carries credentials; they belong in CHT_PIPELINE_TOKEN")
    if "#" in value and not GIT_REVISION.fullmatch(parts.fragment):
        raise Invalid("does not end in the name of a branch, a tag or a commit after #")
    if parts.scheme == "file":
        if host not in {"", "localhost"} or not parts.path.startswith("/") or parts.query:
            raise Invalid("is no file:///absolute/path")
    else:
        _check_remote(parts, host)
    return value


def _check_remote(parts: SplitResult, host: str) -> None:
    if not host or not parts.path.strip("/"):
        raise Invalid("names no host or no repository")
    if parts.scheme == "http" and not _is_loopback(host):
        raise Invalid("would send everything in the clear; use https://")
    if is_tarball(parts.path):
        if parts.fragment:
            raise Invalid("is a tarball, which has no branches: leave out what comes after #")
    elif parts.query:
        raise Invalid("has a query, as no git repository's address has")


def is_tarball(path: str) -> bool:
    return path.lower().endswith((".tar.gz", ".tgz"))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def leaves_the_network(host: str) -> bool:
    """Whether what is sent to a host may go through networks of others.

    It does not to loopback and to private addresses (RFC 1918, 6598, 4193, link-local), to names of one
    label, and to those that end in one of NEAR_SUFFIXES. Nothing is looked up.
    """
    address = _address(host.strip("[]"))
    if address is not None:
        return address.is_global
    name = host.rstrip(".").lower()
    return "." in name and not name.endswith(tuple(f".{suffix}" for suffix in NEAR_SUFFIXES))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a resolver takes a text for, also in its old forms such as 127.1; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def couchdb_databases(value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part for part in re.split(r"[\s,]+", value) if part))
    if not names:
        raise Invalid("names no database")
    for name in names:
        if not DATABASE_NAME.fullmatch(name):
            raise Invalid(f"contains {shown(name)}, which is no CouchDB database (a-z 0-9 _ $ ( ) + - /)")
        if len(name) > POSTGRES_NAME_LIMIT:
            raise Invalid(f"contains {shown(name)}, which is longer than {POSTGRES_NAME_LIMIT} bytes")
        if name in RESERVED_DATABASE_NAMES:
            raise Invalid(f"contains {shown(name)}, a name that cht-sync uses itself")
    return names


def field_paths(value: str) -> tuple[str, ...]:
    """Names of fields inside of documents, with dots for what lies deeper: `phone contact.phone`."""
    paths = tuple(dict.fromkeys(part for part in re.split(r"[\s,]+", value) if part))
    for path in paths:
        first, *_ = names = path.split(".")
        if not all(FIELD_NAME.fullmatch(name) for name in names):
            raise Invalid(f"contains {shown(path)}, which is no name of a field (with dots: contact.phone)")
        if first in KEPT_FIELDS:
            raise Invalid(f"contains {shown(path)}, without which a document cannot be known")
        if first == "doc" and len(names) > 1:
            raise Invalid(f"contains {shown(path)}; names begin inside of the document, so leave out doc.")
    return paths


def hash_secret(value: str) -> str:
    if len(value.encode()) < 16:
        raise Invalid("is shorter than 16 bytes")
    return value


def jwt_secret(value: str) -> str:
    if len(value.encode()) < 32:
        raise Invalid("is shorter than 32 bytes")
    return value
