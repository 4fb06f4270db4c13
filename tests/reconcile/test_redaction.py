"""What is redacted is nowhere in PostgreSQL: not after a load, a repair or a replay, nor in dead letters."""

from __future__ import annotations

from psycopg2 import sql
from waiting import eventually

from reconcile.world import World

NAME = "Achieng Otieno"
REDACTION = {
    "REDACT_FIELDS": "name contact.name",
    "REDACT_HASH_FIELDS": "phone",
    "REDACT_HASH_SECRET": "swordfish-swordfish",
}


def tables_with(world: World, text: str) -> list[str]:
    """The tables of the schema in which a row holds the text anywhere, and the file of dead letters."""
    tables = world.installation.query("select tablename from pg_tables where schemaname = 'v1'")
    query = "select count(*) from {} t where t::text like %s"
    found = [
        str(name)
        for (name,) in tables
        if world.installation.query(sql.SQL(query).format(sql.Identifier("v1", name)), f"%{text}%") != [(0,)]
    ]
    return found + [str(path) for path in world.home.rglob("*.jsonl") if text in path.read_text()]


def put_people(world: World) -> None:
    person = {"name": NAME, "phone": "+254700123456", "contact": {"name": NAME}}
    world.put("plain", "deleted", **person)
    world.put("replaced", **person, note=f"a\0{'b' * 10}")
    world.put("refused", **person, text="x", number="999" * 100)


def test_what_is_removed_or_hashed_comes_back_by_no_way(world: World) -> None:
    world.changes = REDACTION
    put_people(world)
    everything = {"plain", "deleted", "replaced", "refused"}
    world.load_until(lambda: world.rows().keys() == everything)
    world.delete("deleted")
    world.load_until(lambda: world.rows()["deleted"][1])
    world.put("plain", name=NAME, n=2)
    world.load_until(lambda: world.rows()["plain"][0].startswith("2-"))
    assert tables_with(world, NAME) == tables_with(world, "+254700123456") == []
    before = world.rows()
    world.forget("replaced", "refused")
    world.damage("update {} set _rev = '1-other' where _id = 'plain'")
    assert world.repair().finding.same
    assert world.rows() == before
    assert tables_with(world, NAME) == tables_with(world, "+254700123456") == []
    assert world.rows()["refused"][2]["contact"] == {}


def test_a_dead_letter_holds_nothing_that_is_redacted_nor_does_its_replay(world: World) -> None:
    world.changes = REDACTION
    world.installation.query(world.sql("alter table {} add constraint small check (length(doc::text) < 500)"))
    world.put("large", name=NAME, phone="+254700123456", filler="x" * 600)
    world.load_until(lambda: len(world.letters()) == 1)
    assert tables_with(world, NAME) == tables_with(world, "+254700123456") == []
    world.installation.query(world.sql("alter table {} drop constraint small"))
    replayed = world.run("dead-letters", "replay", "--all")
    assert replayed.exit_code == 0, replayed.output
    assert world.rows()["large"][2]["filler"] == "x" * 600
    assert tables_with(world, NAME) == tables_with(world, "+254700123456") == []


def test_reading_again_redacts_rows_that_were_stored_before(world: World) -> None:
    put_people(world)
    world.load_until(lambda: len(world.rows()) == 4)
    assert world.database in tables_with(world, NAME)
    world.changes = REDACTION
    assert world.verify().finding.same
    world.installation.query("delete from v1.couchdb_progress")
    with world.pipeline():
        eventually(lambda: world.database not in tables_with(world, NAME))


def test_a_resync_redacts_rows_that_were_stored_before_and_leaves_the_others(world: World) -> None:
    put_people(world)
    world.put("nobody")
    world.load_until(lambda: len(world.rows()) == 5)
    world.delete("deleted")
    world.load_until(lambda: world.rows()["deleted"][1])
    world.damage(
        "insert into {0} (_id, _rev, doc, saved_timestamp) "
        "select 'purged', '1-x', doc, now() from {0} where _id = 'plain'"
    )
    assert world.database in tables_with(world, NAME)
    world.changes = REDACTION
    assert world.run("verify", "--repair").exit_code == 0
    assert world.database in tables_with(world, NAME)
    query = "select xmin::text, saved_timestamp from {} where _id = 'nobody'"
    before = world.query(query)
    answer = world.run("resync", world.database)
    assert answer.exit_code == 0, answer.output
    assert world.database not in tables_with(world, NAME) + tables_with(world, "+254700123456")
    assert world.rows()["plain"][2].keys() == {"_id", "_rev", "n", "phone", "contact"}
    assert world.query(query) == before
