"""What Superset's database holds encrypted, when SUPERSET_SECRET_KEY is another one than before."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update
from superset.extensions import db
from superset.models.core import Database

TABLE = Database.__table__
SECRETS = (TABLE.c.password, TABLE.c.encrypted_extra, TABLE.c.server_cert)


def check(ours: str) -> None:
    """Forget the secrets of our own connection, by its UUID: they are set at every start.

    Raises SystemExit where people made connections of their own under another key: with these Superset
    opens no list of connections, and emptying them here would lose passwords to a mistyped key.
    """
    db.session.execute(
        update(TABLE).where(TABLE.c.uuid == UUID(ours)).values({secret.name: None for secret in SECRETS})
    )
    connections = db.session.execute(select(TABLE.c.id, TABLE.c.database_name)).all()
    if unreadable := [name for key, name in connections if not _readable(key)]:
        db.session.rollback()  # who sets the right key again finds everything as it was
        raise SystemExit(
            f"SUPERSET_SECRET_KEY is not the one under which the connections {', '.join(unreadable)} were "
            "stored. Set that key again; where it is lost, see docs/superset.md."
        )
    db.session.commit()


def _readable(key: int) -> bool:
    try:
        db.session.execute(select(*SECRETS).where(TABLE.c.id == key)).all()
    except ValueError:
        return False
    return True
