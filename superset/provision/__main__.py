"""Makes a Superset ready: its own tables, who may sign in, the dashboards. Runs inside Superset's Python.

    python superset/provision start                   at every start of the service
    python superset/provision import [--overwrite]    the dashboards alone
    python superset/provision export FOLDER           the dashboards as files

Reads the environment: the variables of REQUIRED, below. Ends with 1 and one line on standard error where it
cannot be done; `import` also where a file was not taken (the lines say which, and the others were).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

FOLDER = Path(__file__).resolve().parent.parent / "assets"
REQUIRED = (
    "SUPERSET_SECRET_KEY",
    "SUPERSET_METADATA_URI",
    "SUPERSET_PASSWORD",
    "SUPERSET_ADMIN_EMAIL",
    "SUPERSET_DB_PASSWORD",
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_SSLMODE",
    "POSTGRES_DB",
    "DBT_POSTGRES_SCHEMA",
)


def main(words: list[str]) -> None:
    """Do one of the three; lines on standard output say what changed."""
    if missing := [name for name in REQUIRED if not os.environ.get(name)]:
        raise SystemExit(f"not set: {', '.join(missing)}")
    logging.disable(logging.CRITICAL)  # errors are raised as well, and told once
    os.umask(0o077)
    from superset.app import create_app  # noqa: PLC0415 (only after the log has been told to be quiet)

    with contextlib.redirect_stdout(io.StringIO()):  # it says which configuration it has read
        app = create_app()
    with app.app_context():
        logging.disable(logging.CRITICAL)
        if words == ["start"]:
            _start()
        elif words[:1] == ["import"] and words[1:] in ([], ["--overwrite"]):
            _prepare()
            _import(overwrite="--overwrite" in words)
        elif words[:1] == ["export"] and len(words) == 2:
            _export(Path(words[1]))
        else:
            raise SystemExit(__doc__)


def _start() -> None:
    import access  # noqa: PLC0415 (these modules need the application)
    from flask_migrate import upgrade  # noqa: PLC0415
    from superset.extensions import appbuilder, security_manager  # noqa: PLC0415

    upgrade()
    _prepare()
    appbuilder.add_permissions(update_perms=True)
    security_manager.sync_role_definitions()
    if done := access.administrator():
        print(done)
    _bring_in(overwrite=False)


def _prepare() -> None:
    import assets  # noqa: PLC0415
    import keys  # noqa: PLC0415
    import metadata  # noqa: PLC0415

    metadata.prepare()
    (connection,) = assets.read(FOLDER, "databases")
    keys.check(connection.uuid)


def _import(*, overwrite: bool) -> None:
    import assets  # noqa: PLC0415

    if said := [line for line in _bring_in(overwrite=overwrite) if assets.UNUSABLE in line]:
        raise SystemExit("\n".join([*said, "All other files were brought in."]))


def _bring_in(*, overwrite: bool) -> list[str]:
    import access  # noqa: PLC0415
    import assets  # noqa: PLC0415
    import warehouse  # noqa: PLC0415

    schema = os.environ["DBT_POSTGRES_SCHEMA"]
    with access.as_administrator():
        database = assets.connect(FOLDER, warehouse.address())
        access.analysts(database, schema)
        lines = assets.Assets(database, schema, overwrite=overwrite).bring_in(FOLDER)
    print(*lines, sep="\n", end="\n" if lines else "")
    return lines


def _export(target: Path) -> None:
    import access  # noqa: PLC0415
    import assets  # noqa: PLC0415
    from superset.extensions import db  # noqa: PLC0415

    with access.as_administrator():
        for line in assets.export(FOLDER, target, os.environ["DBT_POSTGRES_SCHEMA"]):
            print(line)
        db.session.rollback()  # an export changes nothing


def _root(error: BaseException) -> BaseException:
    """What came first: Superset wraps errors of its database in ones without a text."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SQLAlchemyError as error:
        raise SystemExit(f"Superset's own database: {' '.join(str(_root(error)).split())[:500]}") from None
