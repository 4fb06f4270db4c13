"""Secrets that `local` makes for itself, once, and the files by which people's tools find them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder, write_atomically
from cht_sync.settings import Settings, missing_secrets

SECRETS_FILE = "secrets.json"
PGPASS_FILE = "pgpass"
NETRC_FILE = "netrc"
SUPERSET_FILE = "superset-password"


def kept_secrets(folder: Path) -> Mapping[str, str]:
    """Return the secrets that are kept in `folder`; those that it lacks are made.

    Raises ChtSyncError when the file of secrets is damaged.
    """
    private_folder(folder)
    kept = secrets_there(folder)
    made = missing_secrets(kept)
    if made:
        kept |= made
        write_atomically(folder / SECRETS_FILE, msgspec.json.format(msgspec.json.encode(kept)))
    return kept


def secrets_there(folder: Path) -> dict[str, str]:
    """Return the secrets that are kept in `folder`; none are made. Raises ChtSyncError as `kept_secrets`."""
    path = folder / SECRETS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ChtSyncError(
            f"{path} is damaged", hint="Restore it; or begin anew, without the data: cht-sync down --volumes"
        ) from error


def write_for_tools(settings: Settings) -> None:
    """Write a password file for psql and one for curl, so that no secret is ever typed or shown."""
    folder = private_folder(settings.data_folder)
    entries = [
        (settings.publish_address, settings.postgres_port, "*", user, password)
        for user, password in (
            (settings.postgres_user, settings.postgres_password),
            (settings.dbt_role, settings.dbt_postgres_password),
        )
    ]
    lines = [":".join(_pgpass_escaped(str(part)) for part in entry) for entry in entries]
    write_atomically(folder / PGPASS_FILE, "\n".join(lines) + "\n")
    write_atomically(
        folder / NETRC_FILE,
        f"machine {settings.couchdb_host} login {_netrc_escaped(settings.couchdb_user)}"
        f" password {_netrc_escaped(settings.couchdb_password)}\n",
    )
    write_atomically(folder / SUPERSET_FILE, settings.superset_password + "\n")


def _pgpass_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _netrc_escaped(text: str) -> str:
    """Quoted as curl 7.84 and later reads it; plain where every curl does."""
    if re.fullmatch(r"[^\s\"\\#]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
