"""`cht-sync migrate plan` for programs, and what it says of sizes."""

from __future__ import annotations

import json

from migrate.country import Country

IDS = [f"{number:04x}" for number in range(200)]


def test_the_plan_as_json_tells_tables_and_databases(country: Country) -> None:
    medic, sentinel, users_meta = country.worlds
    medic.put(*IDS)
    medic.delete(*IDS[:10])
    country.couch2pg()
    medic.put("new")
    plan = json.loads(country.run("plan", "--json").output)
    assert plan["absent"] == [users_meta.database]
    assert plan["broken"] == []
    assert (plan["program"], plan["schema"], plan["prepared"], plan["left"]) == (
        "couch2pg",
        "public",
        True,
        [],
    )
    tables = {table.pop("relation"): table for table in plan["tables"]}
    assert tables.keys() == {"public.couchdb"}
    assert tables["public.couchdb"]["rows"] == 190
    assert tables["public.couchdb"]["bytes"] > 190 * 50
    databases = {database.pop("name"): database for database in plan["databases"]}
    assert databases[medic.database] == {
        "relation": "public.couchdb",
        "documents": 191,
        "sequence_kept": True,
        "pending": 1,
        "reason": None,
        "done": False,
        "synced": None,
    }
    assert databases.keys() == {medic.database, sentinel.database}


def test_a_database_that_is_done_is_said_to_be(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    assert country.run("run").exit_code == 0
    result = country.run("plan")
    assert f"{country.medic.database}: done, 200 rows moved" in result.output
    assert "All of it is done. Compare: cht-sync migrate check" in result.output
    assert all(one["done"] for one in json.loads(country.run("plan", "--json").output)["databases"])


def test_tables_that_have_our_schema_are_in_the_way(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    result = country.with_settings(POSTGRES_SCHEMA="old_v1").run("plan")
    assert result.exit_code == 0
    assert "cht-sync 2 has the schema old_v1, which POSTGRES_SCHEMA names too" in result.output
    assert "To do it" not in result.output


def test_the_plan_names_the_command_with_its_options(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    result = country.run("plan", "--from", "public", "--old-host", "127.0.0.1")
    assert "To do it: cht-sync migrate run --from public --old-host 127.0.0.1 --env gamma" in result.output


def test_a_database_that_was_read_already_is_said_to_be_left(country: Country) -> None:
    country.medic.put(*IDS)
    country.sentinel.put("info")
    country.couch2pg()
    assert country.medic.run("load", country.medic.database, "--workers", "1").exit_code == 0
    said = country.run("plan").output
    assert f"{country.medic.database}: left: cht-sync load has read it" in said
    assert "To do it: cht-sync migrate run" in said


def test_documents_that_the_old_tables_lack_are_reckoned_with(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.query("delete from couchdb where doc ->> '_id' > '0010'")
    assert "About 183 documents or more must be read from CouchDB" in country.run("plan").output
