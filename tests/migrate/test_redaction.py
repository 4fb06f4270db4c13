"""What is redacted does not come in through an earlier program's rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from reconcile.test_redaction import NAME, REDACTION, tables_with

from migrate.country import SHAPES, Country

PHONE = "+254700123456"


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_moved_as_the_pipeline_would_write_them(country: Country, shape: str) -> None:
    redacting = country.with_settings(**REDACTION)
    medic = redacting.medic
    medic.put("a", "b", name=NAME, phone=PHONE, contact={"name": NAME})
    medic.delete("b")
    redacting.was_read_by(shape)
    assert "through the pipeline's filters" in redacting.run("plan").output
    assert redacting.run("run").exit_code == 0
    assert tables_with(medic, NAME) == tables_with(medic, PHONE) == []
    moved = medic.rows()
    assert moved["a"][2]["contact"] == {}
    check = redacting.run("check")
    assert check.exit_code == 0
    assert "only revisions were compared" in check.output
    medic.query("truncate {}, v1.couchdb_progress")
    medic.load_until(lambda: medic.rows().keys() == {"a", "b"})
    assert medic.rows() == moved


@pytest.fixture
def users(couchdb_server: Any) -> Iterator[None]:
    """The database that CouchDB keeps its users in."""
    client = couchdb_server.client()
    client.create_database("_users")
    yield
    client.delete_database("_users")
    client.close()


@pytest.mark.usefixtures("users")
def test_users_lose_what_is_left_of_their_passwords(country: Country) -> None:
    """couch2pg takes three members out of a user's document and leaves the others."""
    installation = country.medic.installation
    installation.init(" ".join([*country.databases, "_users"]))
    country.couch2pg()
    users = replace(country.medic, database="_users")
    users.put("org.couchdb.user:agnes", type="user", name="agnes", roles=[], password_sha="feedface")
    country.query(
        "insert into couchdb_medic_users values (%s)", json.dumps(users.document("org.couchdb.user:agnes"))
    )
    source = country.source(users, port=True)
    country.query("insert into couchdb_progress values ('1', %s)", source)
    with_users = country.with_settings(COUCHDB_DBS=" ".join([*country.databases, "_users"]))
    assert with_users.run("run", "--database", "_users").exit_code == 0
    ((document,),) = country.query("select doc from v1._users where _id = 'org.couchdb.user:agnes'")
    assert document["name"] == "agnes"
    assert "feedface" not in json.dumps(document)
    assert tables_with(country.medic, "feedface") == []
