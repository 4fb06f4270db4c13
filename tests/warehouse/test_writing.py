"""The rules that the tables keep by themselves: order, stamps, positions, and who may write."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import datetime

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from warehouse.installation import Installation, headers, put

SENTINEL = "medic-sentinel"


@pytest.fixture
def owner(installed: Installation) -> Connection:
    with installed.connected() as connection:
        yield connection


def code_of(refusal: pytest.ExceptionInfo[psycopg2.Error]) -> str | None:
    return refusal.value.pgcode


def test_a_later_revision_takes_the_place_of_the_earlier_one(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, ("a", "1-a", {"n": 1}), ("b", "1-b", {}))
    with owner:
        put(owner, ("a", "2-a", {"n": 2}))
    assert installed.query("select _id, _rev, doc, _deleted from v1.medic order by _id") == [
        ("a", "2-a", {"n": 2}, False),
        ("b", "1-b", {}, False),
    ]


def test_a_lower_revision_that_comes_later_wins(installed: Installation, owner: Connection) -> None:
    for revision in ("3-a", "1-b"):
        with owner:
            put(owner, ("a", revision, {"rev": revision}))
    assert installed.query("select _rev from v1.medic") == [("1-b",)]


def test_a_tombstone_keeps_its_document(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, ("a", "2-a", {"_deleted": True, "reason": "moved"}), deleted=True)
    assert installed.query("select _rev, _deleted, doc ->> 'reason' from v1.medic") == [
        ("2-a", True, "moved")
    ]


def test_a_replay_changes_nothing(installed: Installation, owner: Connection) -> None:
    documents = [(str(n), "1-a", {"n": n, "nested": {"x": [1, None]}}) for n in range(20)]
    with owner:
        put(owner, *documents)
    rows = "select ctid::text, xmin::text, medic from v1.medic order by _id"
    before = installed.query(rows)
    # In a new session, whose counters begin at nothing.
    with closing(installed.connect()) as again, again, again.cursor() as cursor:
        put(again, *documents)
        cursor.execute(
            "select n_tup_ins, n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables"
            " where relid = 'v1.medic'::regclass"
        )
        assert cursor.fetchone() == (0, 0, 0)
    assert installed.query(rows) == before


@pytest.mark.parametrize(
    "later", [("a", "1-x", {"n": 1}, False), ("a", "1-a", {"n": 2}, False), ("a", "1-a", {"n": 1}, True)]
)
def test_another_revision_document_or_deletion_is_a_change(
    installed: Installation, owner: Connection, later: tuple[str, str, object, bool]
) -> None:
    with owner:
        put(owner, ("a", "1-a", {"n": 1}))
    before = installed.value("select saved_timestamp from v1.medic")
    with owner:
        put(owner, later[:3], deleted=later[3])
    assert installed.value("select saved_timestamp from v1.medic") > before


def test_all_rows_of_a_transaction_carry_one_stamp_over_all_tables(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, ("a", "1-a", {}), ("b", "1-b", {}))
        put(owner, ("c", "1-c", {}))
        put(owner, ("d", "1-d", {}), table=SENTINEL)
    ((stamp, count),) = installed.query(
        "select saved_timestamp, count(*) from v1.all_documents group by saved_timestamp"
    )
    assert count == 4
    assert installed.value("select last_stamp from v1.cht_sync_state") == stamp


def test_both_times_of_a_row_are_its_stamp(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, ("a", "1-a", {}))
    assert installed.value("""select "@timestamp" = saved_timestamp at time zone 'UTC' from v1.medic""")


def test_the_stamp_is_utc_whatever_the_zone_of_the_session(
    installed: Installation, owner: Connection
) -> None:
    zones = [zone for (zone,) in installed.query("select name from pg_timezone_names")]
    assert len(zones) > 300
    for number, zone in enumerate(zones):
        with owner, owner.cursor() as cursor:
            cursor.execute("select set_config('timezone', %s, true)", (zone,))
            cursor.execute("select clock_timestamp() at time zone 'UTC'")
            ((before,),) = cursor.fetchall()
            put(owner, ("a", f"{number}-a", {}))
            cursor.execute(
                """
                select saved_timestamp between %s and clock_timestamp() at time zone 'UTC',
                  "@timestamp" at time zone 'UTC' = saved_timestamp from v1.medic""",
                (before,),
            )
            assert cursor.fetchone() == (True, True), zone


def test_stamps_follow_the_order_of_commits_and_a_reader_misses_nothing(installed: Installation) -> None:
    """Two writers, two tables, and a reader that asks for what is greater than its greatest."""
    each = 150
    done = threading.Event()
    seen: list[tuple[datetime, str]] = []
    problems: list[BaseException] = []

    def write(table: str) -> None:
        try:
            with installed.connected() as connection:
                for number in range(each):
                    with connection:
                        put(connection, (f"{table} {number}", "1-a", {}), table=table)
        except BaseException as problem:
            problems.append(problem)

    def read_on() -> None:
        greatest = datetime.min
        with installed.connected() as connection, connection.cursor() as cursor:
            finished = False
            while not finished:
                finished = done.is_set()
                with connection:
                    cursor.execute(
                        "select saved_timestamp, _id from v1.all_documents"
                        " where saved_timestamp > %s order by 1",
                        (greatest,),
                    )
                    new = cursor.fetchall()
                seen.extend(new)
                greatest = new[-1][0] if new else greatest

    reader = threading.Thread(target=read_on, daemon=True)
    writers = [threading.Thread(target=write, args=(table,), daemon=True) for table in ("medic", SENTINEL)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not problems
    assert len({id for _, id in seen}) == len(seen) == 2 * each
    stamps = [stamp for stamp, _ in seen]
    assert len(set(stamps)) == len(stamps)
    assert stamps == sorted(stamps)
    for table in ("medic", SENTINEL):
        assert [id for _, id in seen if id.startswith(f"{table} ")] == [f"{table} {n}" for n in range(each)]


def test_who_writes_second_waits_for_the_first_also_in_another_table(installed: Installation) -> None:
    with closing(installed.connect()) as first, closing(installed.connect()) as second:
        put(first, ("a", "1-a", {}))
        second.cursor().execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            put(second, ("b", "1-b", {}), table=SENTINEL)


def test_a_clock_that_steps_back_does_no_harm(installed: Installation, owner: Connection) -> None:
    installed.query("update v1.cht_sync_state set last_stamp = last_stamp + interval '1 day'")
    installed.query("update v1.cht_sync_state set last_stamp = '2100-01-01'")
    for revision in ("1-a", "2-a"):
        with owner:
            put(owner, ("a", revision, {}))
    assert installed.value("select saved_timestamp from v1.medic") == datetime(2100, 1, 1, 0, 0, 0, 2)


def test_a_last_stamp_without_end_does_not_end_writing(installed: Installation, owner: Connection) -> None:
    installed.query("update v1.cht_sync_state set last_stamp = 'infinity'")
    for revision in ("1-a", "2-a"):
        with owner:
            put(owner, ("a", revision, {}))
    assert installed.value("select isfinite(saved_timestamp) from v1.medic where _rev = '2-a'")


def test_the_position_is_written_with_the_data(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, ("a", "1-a", {}), headers=headers(1, 1, seq="7-x", pending=3))
    assert installed.progress() == ("7-x", 3, 1, 1)
    assert installed.value("select source from v1.medic") == "couch/medic"
    put(owner, ("b", "1-b", {}), headers=headers(1, 2, seq="8-x", pending=0))
    owner.rollback()
    assert installed.progress() == ("7-x", 3, 1, 1)
    assert installed.value("select count(*) from v1.medic") == 1


def test_the_position_is_written_with_no_data(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, headers=headers(1, 1, seq="7-x", pending=0))
    assert installed.progress() == ("7-x", 0, 1, 1)
    assert installed.value("select caught_up_at = updated_at from v1.couchdb_progress")


def test_a_part_without_sequence_keeps_the_position(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, headers=headers(1, 1, seq="7-x", pending=3))
    with owner:
        put(owner, ("a", "1-a", {}), headers=headers(1, 2))
    assert installed.progress() == ("7-x", 3, 1, 2)


def test_the_position_can_be_put_back_to_the_start(installed: Installation, owner: Connection) -> None:
    for batch, sequence in ((1, "7-x"), (2, "0")):
        with owner:
            put(owner, headers=headers(1, batch, seq=sequence))
    assert installed.progress()[0] == "0"


IDENTITY = "select server_uuid, instance_start_time, rereading, problem from v1.couchdb_progress"


def test_whose_the_position_is_and_what_is_wrong_are_written_with_it(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, headers=headers(1, 1))
    assert installed.query(IDENTITY) == [(None, None, False, None)]
    told = {
        "cht-sync-server-uuid": "5c31",
        "cht-sync-instance-start-time": "1700000000",
        "cht-sync-rereading": "true",
        "cht-sync-problem": "other server%3A 100 %25%2c %C5%BElu%c5%a5",
    }
    with owner:
        put(owner, headers={**headers(1, 2), **told})
    assert installed.query(IDENTITY) == [("5c31", "1700000000", True, "other server: 100 %, žluť")]
    with owner:
        put(owner, headers=headers(1, 3))
    assert installed.query(IDENTITY) == [("5c31", "1700000000", True, None)]
    with owner:
        put(owner, headers={**headers(1, 4), "cht-sync-rereading": "false"})
    assert installed.query(IDENTITY) == [("5c31", "1700000000", False, None)]


@pytest.mark.parametrize("text", ["%ff", "%00", "100 %", "%zz", "a%2"])
def test_a_problem_that_cannot_be_decoded_is_kept_as_it_came(
    installed: Installation, owner: Connection, text: str
) -> None:
    with owner:
        put(owner, headers={**headers(1, 1), "cht-sync-problem": text})
    assert installed.query(IDENTITY) == [(None, None, False, text)]


@pytest.mark.parametrize(("epoch", "batch"), [(2, 5), (2, 4), (1, 6), (1, 99)])
@pytest.mark.parametrize("documents", [[("a", "9-late", {})], []])
def test_an_older_or_equal_batch_is_refused(
    installed: Installation,
    owner: Connection,
    epoch: int,
    batch: int,
    documents: list[tuple[str, str, object]],
) -> None:
    with owner:
        put(owner, ("a", "1-a", {}), headers=headers(2, 5, seq="7-x"))
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, *documents, headers=headers(epoch, batch, seq="3-x"))
    assert code_of(refusal) == "PT409"
    assert installed.progress()[0] == "7-x"
    assert installed.value("select _rev from v1.medic") == "1-a"


@pytest.mark.parametrize(("after", "accepted"), [(5, True), (4, True), (6, False)])
def test_a_request_is_refused_when_the_one_that_it_follows_is_not_here(
    installed: Installation, owner: Connection, after: int, accepted: bool
) -> None:
    with owner:
        put(owner, headers=headers(2, 5))
    follower = {**headers(2, 8), "cht-sync-after": str(after)}
    if accepted:
        with owner:
            put(owner, ("a", "1-a", {}), headers=follower)
        return
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, ("a", "1-a", {}), headers=follower)
    assert code_of(refusal) == "PT409"
    assert installed.value("select count(*) from v1.medic") == 0


@pytest.mark.parametrize(("epoch", "batch"), [(2, 6), (3, 1)])
def test_a_newer_batch_or_writer_is_accepted(
    installed: Installation, owner: Connection, epoch: int, batch: int
) -> None:
    for pair in ((2, 5), (epoch, batch)):
        with owner:
            put(owner, headers=headers(*pair, seq=f"{pair}"))
    assert installed.progress() == (f"{(epoch, batch)}", None, epoch, batch)


FOREIGN: list[dict[str, str] | None] = [None, headers(9, 9, source="elsewhere/medic")]


@pytest.mark.parametrize("foreign", FOREIGN, ids=["without headers", "another source"])
def test_a_table_that_a_writer_holds_takes_nothing_from_others(
    installed: Installation, owner: Connection, foreign: dict[str, str] | None
) -> None:
    with owner:
        put(owner, headers=headers(1, 1))
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, ("a", "1-a", {}), headers=foreign)
    assert code_of(refusal) == "PT409"
    with owner:
        put(owner, ("a", "1-a", {}), table=SENTINEL)
    installed.query("update v1.couchdb_progress set held_until = clock_timestamp()")
    with owner:
        put(owner, ("a", "1-a", {}), headers=foreign)


def test_a_table_that_was_written_to_first_does_not_open_a_held_one(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, headers=headers(1, 1))
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, ("a", "1-a", {}), table=SENTINEL)
        put(owner, ("a", "1-a", {}))
    assert code_of(refusal) == "PT409"


@pytest.mark.parametrize("foreign", FOREIGN, ids=["without headers", "another source"])
def test_a_released_table_is_free_at_once(
    installed: Installation, owner: Connection, foreign: dict[str, str] | None
) -> None:
    with owner:
        put(owner, headers=headers(1, 1, seq="7-x", pending=2))
    with owner:
        put(owner, headers=headers(1, 2, release=True))
    assert installed.progress() == ("7-x", 2, 1, 2)
    with owner:
        put(owner, ("a", "1-a", {}), headers=foreign)


def test_a_released_writer_does_not_write_any_more_under_its_old_number(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, headers=headers(1, 2, release=True))
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, ("a", "1-a", {}), headers=headers(1, 1))
    assert code_of(refusal) == "PT409"


@pytest.mark.parametrize(
    "wrong",
    [
        headers(1, 1, source="couch/medic-sentinel"),
        {"cht-sync-source": "couch/medic"},
        {**headers(1, 1), "cht-sync-epoch": "one"},
        {**headers(1, 1), "cht-sync-batch": "9" * 30},
        {**headers(1, 1), "cht-sync-pending": "-"},
        {**headers(1, 1), "cht-sync-rereading": "yes"},
    ],
)
def test_headers_that_cannot_be_blame_the_writer_not_its_documents(
    owner: Connection, wrong: dict[str, str]
) -> None:
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, ("a", "1-a", {}), headers=wrong)
    assert code_of(refusal) == "PT400"


def test_a_repair_writes_beside_the_living_pipeline_and_moves_nothing(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, headers=headers(3, 7, seq="7-x"))
    progress = installed.query("select * from v1.couchdb_progress")
    with owner:
        owner.cursor().execute("select from v1.cht_sync_state for update")
        owner.cursor().execute("select set_config('cht_sync.repair', pg_current_xact_id()::text, true)")
        put(owner, ("a", "1-a", {}))
    assert installed.query("select _id from v1.medic") == [("a",)]
    assert installed.query("select * from v1.couchdb_progress") == progress


def test_the_word_of_a_repair_counts_for_its_own_transaction_only(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        put(owner, headers=headers(3, 7))
    with owner:
        owner.cursor().execute("select set_config('cht_sync.repair', pg_current_xact_id()::text, false)")
    with pytest.raises(psycopg2.Error) as refusal, owner:
        put(owner, ("a", "1-a", {}))
    assert code_of(refusal) == "PT409"


def test_a_savepoint_that_is_rolled_back_takes_the_position_with_it(
    installed: Installation, owner: Connection
) -> None:
    with owner:
        owner.cursor().execute("savepoint before")
        put(owner, ("a", "1-a", {}), headers=headers(1, 1, seq="7-x"))
        owner.cursor().execute("rollback to savepoint before")
        put(owner, ("b", "1-b", {}), headers=headers(1, 1, seq="8-x"))
    assert installed.progress()[0] == "8-x"
    assert installed.query("select _id from v1.medic") == [("b",)]


def test_a_write_in_a_stricter_isolation_fails_rather_than_take_an_old_stamp(installed: Installation) -> None:
    with closing(installed.connect()) as strict, closing(installed.connect()) as other:
        strict.set_session(isolation_level="REPEATABLE READ")
        strict.cursor().execute("select 1 from v1.cht_sync_state")
        with other:
            put(other, ("a", "1-a", {}))
        with pytest.raises(psycopg2.errors.SerializationFailure):
            put(strict, ("b", "1-b", {}))


def test_ids_sort_by_their_bytes(installed: Installation, owner: Connection) -> None:
    with owner:
        put(owner, *[(id, "1-a", {}) for id in ("a", "Z", "é", "-", "~")])
    assert [id for (id,) in installed.query("select _id from v1.medic order by _id")] == [
        "-",
        "Z",
        "a",
        "~",
        "é",
    ]
