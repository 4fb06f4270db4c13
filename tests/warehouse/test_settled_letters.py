"""Dead letters in the warehouse: a later write of their document closes them, the same fault opens them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from warehouse.installation import Installation, put


@pytest.fixture
def owner(installed: Installation) -> Connection:
    with installed.connected() as connection:
        yield connection


def post_letter(
    installation: Installation, fingerprint: str = "f", doc_id: str | None = "a", database: str = "medic"
) -> None:
    """As the pipeline does: with the ingest role, which may not change letters."""
    with (
        closing(installation.login("authenticator")) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(f"{installation.name}_ingest")))
        cursor.execute(
            "insert into v1.dead_letters (fingerprint, source, database, doc_id, code, reason)"
            " values (%s, %s, %s, %s, '22P05', 'r') on conflict (fingerprint) do nothing",
            (fingerprint, f"couch/{database}", database, doc_id),
        )


def letters(installation: Installation) -> list[tuple[Any, ...]]:
    return installation.query(
        "select fingerprint, closed_at is null, closed_by from v1.dead_letters order by id"
    )


OPEN, STORED = (True, None), (False, "stored")


def test_storing_a_document_closes_its_letters_and_no_others(
    installed: Installation, owner: Connection
) -> None:
    for fingerprint, doc_id, database in (
        ("f1", "a", "medic"),
        ("f2", "a", "medic"),
        ("other document", "b", "medic"),
        ("unreadable", None, "medic"),
        ("other database", "a", "medic-sentinel"),
    ):
        post_letter(installed, fingerprint, doc_id, database)
    with owner:
        put(owner, ("a", "2-a", {}), ("c", "1-c", {}))
    assert letters(installed) == [
        ("f1", *STORED),
        ("f2", *STORED),
        ("other document", *OPEN),
        ("unreadable", *OPEN),
        ("other database", *OPEN),
    ]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_later_revision_of_a_stored_document_closes_its_letter(
    installed: Installation, owner: Connection, deleted: bool
) -> None:
    with owner:
        put(owner, ("a", "1-a", {}))
    post_letter(installed)
    with owner:
        put(owner, ("a", "3-a", {}), deleted=deleted)
    assert letters(installed) == [("f", *STORED)]


def test_a_replay_closes_nothing(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, ("a", "1-a", {}))
    post_letter(installed)
    with owner:
        put(owner, ("a", "1-a", {}), ("b", "1-b", {}))
    assert letters(installed) == [("f", *OPEN)]


def test_a_write_that_is_rolled_back_closes_nothing(installed: Installation, owner: Connection) -> None:
    post_letter(installed)
    put(owner, ("a", "1-a", {}))
    owner.rollback()
    assert letters(installed) == [("f", *OPEN)]


@pytest.mark.parametrize("closed_by", ["stored", "dropped"])
def test_a_closed_letter_that_comes_again_is_open_again_and_still_one(
    installed: Installation, closed_by: str
) -> None:
    post_letter(installed)
    installed.query("update v1.dead_letters set closed_at = now(), closed_by = %s", closed_by)
    post_letter(installed)
    assert letters(installed) == [("f", *OPEN)]
    post_letter(installed)
    assert letters(installed) == [("f", *OPEN)]


def test_a_letter_may_be_of_a_document_with_a_name_of_10_kb(
    installed: Installation, owner: Connection
) -> None:
    # Random enough that compression does not make it fit into an index after all.
    name = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(3500))
    post_letter(installed, doc_id=name)
    with owner:
        put(owner, ("a", "1-a", {}))
    assert letters(installed) == [("f", *OPEN)]
