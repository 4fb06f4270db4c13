"""What provisioning remembers between two starts, in a table of Superset's own database."""

from __future__ import annotations

import hashlib

from superset.extensions import db

TABLE = db.Table(
    "cht_sync_provisioned",
    db.metadata,
    db.Column("name", db.String(200), primary_key=True),
    db.Column("given", db.String(200), nullable=False),
    db.Column("became", db.String(200), nullable=False),
)
"""`name`: what was provisioned; `given`: digest of what we brought; `became`: of what it was afterwards."""


def prepare() -> None:
    """Make the table where there is none."""
    TABLE.create(db.engine, checkfirst=True)


def remembered(name: str) -> tuple[str, str] | None:
    """Return (given, became) of the last time; None where there was none."""
    row = db.session.execute(TABLE.select().where(TABLE.c.name == name)).first()
    return None if row is None else (row.given, row.became)


def remember(name: str, given: str, became: str) -> None:
    """Keep both; the caller commits."""
    db.session.execute(TABLE.delete().where(TABLE.c.name == name))
    db.session.execute(TABLE.insert().values(name=name, given=given, became=became))


def digest(text: str) -> str:
    """A name for exactly this text."""
    return hashlib.sha256(text.encode()).hexdigest()
