"""PostgREST's configuration file, `postgrest/postgrest.conf`: the one place where its values are chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cht_sync.errors import ChtSyncError
from cht_sync.settings import CHECKOUT, Settings
from cht_sync.warehouse.connection import authenticator_endpoint

FILE = CHECKOUT / "postgrest" / "postgrest.conf"
LINE = re.compile(r'([a-z][a-z-]*) = (?:"([^"]*)"|([0-9]+|true|false))')
VARIABLE = re.compile(r"\$\((\w+)\)")
SPARE = 10
"""Connections beside one for each database: a writer that waits for its turn stops nobody else."""


def of(settings: Settings, **secrets: str) -> dict[str, str]:
    """The file's values for an installation; `db_uri` and `jwt_secret` may name files (`@path`) instead."""
    found = read(
        {
            "PGRST_DB_URI": secrets.get("db_uri") or authenticator_endpoint(settings).uri(),
            "PGRST_DB_SCHEMAS": settings.postgres_schema,
            "PGRST_DB_ANON_ROLE": settings.anonymous_role,
            "PGRST_JWT_SECRET": secrets.get("jwt_secret") or settings.pgrst_jwt_secret,
        }
    )
    found["db-pool"] = str(max(int(found["db-pool"]), len(settings.couchdb_dbs) + SPARE))
    return found


def read(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the file's keys and values, `$(NAME)` in them replaced from `environ`.

    Raises ChtSyncError for a line that is none and for a variable that is not there.
    """
    values = {}
    for number, line in enumerate(FILE.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise ChtSyncError(f"{FILE}, line {number}: neither a comment nor key = value")
        key, quoted, plain = found.groups()
        try:
            values[key] = VARIABLE.sub(lambda name: environ[name[1]], quoted or "") or plain or ""
        except KeyError as error:
            raise ChtSyncError(f"{FILE}, line {number}: {error.args[0]} is not set") from error
    return values


def as_text(values: Mapping[str, str]) -> str:
    """The values as a configuration file."""
    lines = []
    for key, value in values.items():
        plain = value.isdigit() or value in ("true", "false")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f"{key} = {value}" if plain else f'{key} = "{escaped}"')
    return "\n".join(lines) + "\n"


def as_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The same values as the variables that win over the file."""
    return {f"PGRST_{key.upper().replace('-', '_')}": value for key, value in values.items()}
