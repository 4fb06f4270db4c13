"""`cht-sync load` gives what the feed alone would have given, and its pipeline goes on from there."""

from __future__ import annotations

import dataclasses
import json
import random
import secrets
import threading
from collections.abc import Iterator, Mapping
from unittest.mock import Mock

import pytest
from poison.kinds import LONG_ID
from reconcile.world import World, edited
from waiting import eventually

from cht_sync.errors import ChtSyncError
from cht_sync.load import chunks, review, run
from cht_sync.load.changed import Changed
from cht_sync.load.ledger import Ledger, Progress
from cht_sync.pipeline.contracts import Rejected
from cht_sync.reconcile.couch import Couch, Document
from cht_sync.reconcile.databases import Result, sides
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State
from cht_sync.runtime.status import databases_and_models
from load.history import keep_history, stamps_in_visible_order, steps_back

IDS = [f"{number:04x}" for number in range(400)]
ODD_IDS = (
    "_design/medic",
    "é",
    "नेपाली",
    "😀",
    "a/b",
    "a+b?c&d#e%20",
    'quote"\\',
    "-",
    " ",
    "z" * 700,
    "z" * 701,
)


def nothing(_progress: Progress) -> None:
    return None


def begin(world: World, *, chunk_size: int = 50, anew: bool = False) -> Progress:
    return run.begin(world.settings, world.database, chunk_size=chunk_size, anew=anew)


def work(world: World, *, workers: int = 2, stop: threading.Event | None = None) -> Progress:
    stop = stop or threading.Event()
    return run.run(world.settings, world.database, workers=workers, advance=nothing, stop=stop)


def load(world: World, *, workers: int = 2, chunk_size: int = 50, anew: bool = False) -> Progress:
    begin(world, chunk_size=chunk_size, anew=anew)
    return work(world, workers=workers)


def test_rows_are_those_that_the_feed_would_have_brought(world: World) -> None:
    world.put(*IDS, *ODD_IDS)
    world.delete(*IDS[:30], "a/b")
    world.put(*IDS[:10])
    ended = load(world)
    loaded = world.rows()
    assert loaded == world.winners()
    assert (ended.ended, ended.chunks > 5) == (True, True)
    assert world.verify().finding.same
    world.query("truncate {}, v1.couchdb_progress")
    world.load()
    assert world.rows() == loaded


@pytest.mark.parametrize("chunk_size", [1, 7, 100_000])
def test_chunks_of_any_size_hold_each_document_once(world: World, chunk_size: int) -> None:
    world.put(*IDS[:40], "z" * 700, "z" * 701)
    ended = load(world, chunk_size=chunk_size)
    assert ended.documents == 42
    assert world.rows() == world.winners()


def test_a_database_without_documents_is_loaded_at_once(world: World) -> None:
    ended = load(world)
    assert (ended.ended, ended.documents, ended.added) == (True, 0, 0)


def test_the_pipeline_brings_only_what_was_changed_since_the_start(world: World) -> None:
    world.put(*IDS)
    load(world)
    world.put("new", IDS[0])
    with world.pipeline():
        eventually(lambda: world.rows() == world.winners())
    answered = world.query(
        "select count(*) from {} where saved_timestamp > (select ended_at at time zone 'UTC' "
        "from v1.cht_sync_loads where database = %s)",
        world.database,
    )
    assert answered == [(2,)]


@pytest.mark.parametrize("seed", range(3))
def test_no_row_goes_back_while_people_write_and_the_pipeline_runs(world: World, seed: int) -> None:
    dice = random.Random(seed)
    world.put(*IDS)
    keep_history(world)
    with world.pipeline(), edited(world, IDS, dice):
        load(world, workers=3, chunk_size=dice.choice((20, 90)))
    with world.pipeline():
        eventually(lambda: world.rows() == world.winners())
    assert steps_back(world) == []
    assert stamps_in_visible_order(world)
    assert world.verify().finding.same


def test_a_pipeline_that_is_behind_is_never_overtaken_for_good_nor_turned_back(world: World) -> None:
    """It has read nothing since the start while chunks are loaded; it may bring only what is newer."""
    world.put(*IDS)
    keep_history(world)
    begin(world)
    changed = IDS[::3]
    world.put(*changed)
    world.put(*changed[::2])
    ended = work(world)
    assert ended.ended
    assert {*world.rows()} == {*IDS} - {*changed}
    world.load()
    assert steps_back(world) == []


def test_what_the_pipeline_writes_between_reading_and_merging_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(*IDS[:100])
    begin(world, chunk_size=1000)
    with world.pipeline():
        look = Changed.look

        def after_an_edit(self: Changed) -> frozenset[str]:
            world.put(*IDS[:10])
            world.delete(IDS[20])
            eventually(lambda: {*IDS[:10], IDS[20]} <= {*world.rows()})
            return look(self)

        monkeypatch.setattr(Changed, "look", after_an_edit)
        work_here(world)
    monkeypatch.undo()
    work(world)
    assert world.rows() == world.winners()


def work_here(world: World) -> None:
    """A worker in this thread."""
    settings = world.settings
    with sides(settings, world.database, writing=True) as (couch, table):
        chunks.work(couch, table, RowMaker(settings, world.database), threading.Event())


def test_rows_from_before_the_load_are_brought_up_to_date(world: World) -> None:
    """A pipeline had begun, and what it has not read again is in nobody's feed from now on."""
    world.put(*IDS[:100])
    world.load()
    stamps = dict(world.query("select _id, saved_timestamp from {}"))
    world.put(*IDS[:10], "new")
    world.delete(*IDS[10:15])
    ended = load(world)
    assert world.rows() == world.winners()
    assert ended.added == 5
    now = dict(world.query("select _id, saved_timestamp from {}"))
    assert {one for one in stamps if now[one] != stamps[one]} == {*IDS[:15]}


def test_what_postgresql_cannot_hold_is_a_dead_letter_or_replaced_as_the_pipeline_does_it(
    world: World,
) -> None:
    world.put("nul", text="a\0b")
    world.put("half", text="\ud83d")
    world.put(*IDS[:20])
    load(world)
    by_load = world.rows(), world.letters(), notes(world)
    world.query("truncate {}, v1.couchdb_progress, v1.dead_letters, v1.replaced_values restart identity")
    world.load_until(lambda: len(world.rows()) == len(by_load[0]))
    assert (world.rows(), world.letters(), notes(world)) == by_load
    assert len(by_load[2]) == 2


def notes(world: World) -> list[tuple[object, ...]]:
    return world.installation.query("select doc_id, rev, replaced from v1.replaced_values order by doc_id")


def test_what_only_the_table_refuses_is_a_dead_letter_and_the_rest_is_stored(world: World) -> None:
    world.put(*IDS[:20], LONG_ID)
    world.query("alter table {} add constraint no_seven check (_id <> %s)", IDS[7])
    load(world, chunk_size=5)
    assert {*world.rows()} == {*IDS[:20]} - {IDS[7]}
    assert [(one, code, closed) for one, _rev, code, closed in world.letters()] == [
        (IDS[7], "23514", None),
        (LONG_ID, "54000", None),
    ]


def test_several_machines_share_one_load(world: World) -> None:
    world.put(*IDS)
    ended: list[Progress] = []
    begin(world, chunk_size=20)
    threads = [threading.Thread(target=lambda: ended.append(work(world))) for _machine in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.documents for one in ended] == [len(IDS)] * 2
    assert all(one.ended for one in ended)
    assert world.rows() == world.winners()


def test_a_load_that_was_stopped_goes_on_where_it_was(world: World) -> None:
    world.put(*IDS)
    begin(world, chunk_size=20)
    stop = threading.Event()

    def after_some(progress: Progress) -> None:
        if progress.chunks_done:
            stop.set()

    halfway = run.run(world.settings, world.database, workers=1, advance=after_some, stop=stop)
    assert not halfway.ended
    done = {*world.rows()}
    stamps = dict(world.query("select _id, saved_timestamp from {}"))
    assert begin(world).documents == len(done) == halfway.documents
    assert work(world).ended
    assert world.rows() == world.winners()
    now = dict(world.query("select _id, saved_timestamp from {}"))
    assert {one: now[one] for one in stamps} == stamps


def test_a_load_that_was_done_is_not_done_again_unless_one_says_so(world: World) -> None:
    world.put(*IDS[:20])
    assert world.run("load", world.database, "--workers", "1").exit_code == 0
    again = world.run("load", world.database)
    assert (again.exit_code, "was loaded already" in again.stdout) == (0, True)
    world.forget(IDS[3])
    assert world.run("load", world.database, "--workers", "1", "--restart").exit_code == 0
    assert world.rows() == world.winners()


def test_the_command_says_what_it_did_and_how_to_prove_it(world: World) -> None:
    world.put(*IDS[:20])
    world.delete(IDS[0])
    done = world.run("load", world.database, "--workers", "1", "--chunk-size", "100")
    assert done.exit_code == 0
    assert f"{world.database}: 19 documents loaded in 1 chunks, 1 added afterwards" in done.stdout
    assert f"cht-sync verify --database {world.database} --env gamma" in done.stdout


def test_another_couchdb_in_the_middle_ends_the_load(world: World) -> None:
    world.put(*IDS[:20])
    begin(world)
    world.installation.query("update v1.cht_sync_loads set server_uuid = 'another'")
    with pytest.raises(ChtSyncError, match="another server since the load began"):
        work(world, workers=1)
    assert world.rows() == {}


def test_logstash_itself_is_refused_since_nobody_else_may_move_its_position(world: World) -> None:
    world.changes = {"PIPELINE_ENGINE": "logstash"}
    done = world.run("load", world.database)
    assert done.exit_code == 2
    assert "PIPELINE_ENGINE" in done.stderr


def test_filters_take_out_of_the_load_what_they_take_out_of_the_feed(world: World) -> None:
    world.changes = {"REDACT_FIELDS": "name"}
    world.put("person", name="Achieng", age=3)
    load(world)
    assert "Achieng" not in json.dumps(world.rows()["person"])


def test_a_bound_is_greater_than_where_it_begins_however_long_ids_are(world: World) -> None:
    world.put(*[f"{'x' * 600}{number}" for number in range(30)], *[f"y{number:02}" for number in range(20)])
    with sides(world.settings, world.database, writing=True) as (couch, _table):
        assert chunks.next_bound(couch, "", 5) == "x" * 500
        assert chunks.next_bound(couch, "x" * 500, 5) == "y10"
        assert chunks.next_bound(couch, "y10", 10) is None


def test_the_ledger_counts_what_is_done(world: World) -> None:
    world.put(*IDS[:30])
    begun = begin(world, chunk_size=10)
    assert (begun.expected, begun.documents, begun.all_planned, begun.ended) == (30, 0, False, False)
    work(world)
    with sides(world.settings, world.database, writing=True) as (_couch, table):
        progress = Ledger(table).progress()
    assert progress is not None
    assert (progress.documents, progress.chunks, progress.chunks_done) == (30, 3, 3)


def test_status_shows_a_load_until_it_has_ended(world: World) -> None:
    world.put(*IDS[:30])
    begin(world, chunk_size=10)
    work_here(world)
    (shown,) = databases_and_models(world.settings)["databases"]
    assert (shown["load"]["documents"], shown["load"]["expected"]) == (30, 30)
    work(world)
    (shown,) = databases_and_models(world.settings)["databases"]
    assert shown["load"] is None


@pytest.mark.parametrize(
    ("database", "changes", "kept"),
    [
        ("medic", {}, True),
        ("_users", {}, False),
        ("medic", {"REDACT_FIELDS": "name"}, False),
        ("medic", {"REDACT_HASH_FIELDS": "name", "REDACT_HASH_SECRET": secrets.token_hex(32)}, False),
    ],
)
def test_a_dead_letter_of_what_could_not_be_read_holds_no_text_that_could_not_be_redacted(
    world: World, database: str, changes: dict[str, str], kept: bool
) -> None:
    world.changes = changes
    refused: list[Rejected] = []
    staging = Mock(reject=refused.append)
    unreadable = Document("a", State("1-a", False), b'{"_id":"a","name":"Achieng"')
    settings = dataclasses.replace(world.settings, couchdb_dbs=(database,))
    chunks.stage(staging, [unreadable], RowMaker(settings, database))
    assert [one.document is not None for one in refused] == [kept]


def test_what_a_database_that_was_made_anew_lacks_becomes_a_tombstone(world: World) -> None:
    """The load begins before the pipeline could notice it."""
    world.put(*IDS[:20])
    world.load()
    world.ask("DELETE", "")
    world.ask("PUT", "")
    world.put(*IDS[15:25])
    load(world)

    def tombstones() -> set[str]:
        return {one for one, (_rev, deleted, _doc) in world.rows().items() if deleted}

    with world.pipeline():
        eventually(lambda: tombstones() == {*IDS[:15]})
    assert world.verify().finding.same


def test_a_document_that_couchdb_does_not_give_at_first_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster answers `_bulk_get` for each document; a shard that is slow is an error of one of them."""
    monkeypatch.setattr(review, "FIRST_PAUSE", 0.01)
    world.put(*IDS[:20])
    world.delete(*IDS[:5])
    given = Couch.contents
    withheld = [IDS[2], IDS[3]]

    def contents(self: Couch, wanted: Mapping[str, State]) -> list[Document]:
        late = withheld.pop() if withheld else None
        return [one for one in given(self, wanted) if one.id != late]

    monkeypatch.setattr(Couch, "contents", contents)
    load(world, workers=1)
    assert withheld == []
    assert world.rows() == world.winners()


def test_a_document_that_couchdb_never_gives_is_a_dead_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(review, "LONGEST_PAUSE", 0.01)
    world.put(*IDS[:20])
    world.delete(IDS[2])
    monkeypatch.setattr(Couch, "contents", lambda _couch, _wanted: [])
    assert load(world, workers=1).ended
    assert [(one, code) for one, _rev, code, _closed in world.letters()] == [(IDS[2], "no_document")]


def test_a_list_that_lags_behind_the_feed_is_made_good_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster the list may come from a node that lacks what the sequence at the start holds already."""
    world.put(*IDS[:20])
    before = {one.id: one for one in read_here(world)}
    world.put(*IDS[:10])
    begin(world, chunk_size=100)
    listed = Couch.range

    def stale(self: Couch, begins: str, ends: str | None) -> Iterator[list[Document]]:
        for documents in listed(self, begins, ends):
            yield [before.get(one.id, one) for one in documents]

    monkeypatch.setattr(Couch, "range", stale)
    work_here(world)
    assert world.rows() != world.winners()
    monkeypatch.undo()
    work(world)
    assert world.rows() == world.winners()


def read_here(world: World) -> list[Document]:
    with sides(world.settings, world.database, writing=True) as (couch, _table):
        return [one for documents in couch.range("", None) for one in documents]


def test_a_letter_that_was_dropped_is_not_open_again(world: World) -> None:
    world.put(*IDS[:5], LONG_ID)
    begin(world)
    work_here(world)
    world.installation.query("update v1.dead_letters set closed_at = now(), closed_by = 'dropped'")
    work(world)
    load(world, anew=True)
    assert [closed for _one, _rev, _code, closed in world.letters()] == ["dropped"]


def test_whoever_has_the_line_never_waits_for_a_worker_s_note(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("nul", text="a\0b")
    begin(world)
    look = Changed.look
    mended: list[Result] = []

    def after_a_repair(self: Changed) -> frozenset[str]:
        mended.append(world.repair())
        return look(self)

    monkeypatch.setattr(Changed, "look", after_a_repair)
    work_here(world)
    assert mended[0].finding.same
    assert len(notes(world)) == 1
