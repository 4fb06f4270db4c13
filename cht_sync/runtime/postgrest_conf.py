"""PostgREST's configuration file, `postgrest/postgrest.conf`: the one place where its values are chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cht_sync.errors import ChtSyncError
from cht_sync.settings import CHECKOUT

FILE = CHECKOUT / "postgrest" / "postgrest.conf"
LINE = re.compile(r'([a-z][a-z-]*) = (?:"([^"]*)"|([0-9]+|true|false))')
VARIABLE = re.compile(r"\$\((\w+)\)")


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


def as_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The same values as the variables that win over the file."""
    return {f"PGRST_{key.upper().replace('-', '_')}": value for key, value in values.items()}
