"""What an operator's word on another CouchDB changes, and what it leaves alone."""

from __future__ import annotations

import threading

import psycopg2
import pytest
from waiting import eventually

from cht_sync.errors import ChtSyncError
from cht_sync.warehouse.connection import Endpoint
from cht_sync.warehouse.server_change import accept_server
from warehouse.installation import Installation, headers, put

IDENTITY = {"cht-sync-server-uuid": "u", "cht-sync-instance-start-time": "17"}


def owner(installation: Installation) -> Endpoint:
    server = installation.server
    return Endpoint(server.host, server.port, installation.name, server.user, server.password)


def written(installation: Installation, *, table: str = "medic", **more: str) -> None:
    """A position, as a pipeline writes it."""
    position = headers(3, 7, seq="5-x", pending=9, source=f"couch/{table}")
    names = {name.replace("_", "-"): value for name, value in more.items()}
    with installation.connected() as connection, connection:
        put(connection, ("a", "1-a", {}), table=table, headers={**position, **IDENTITY, **names})


def position(installation: Installation, database: str = "medic") -> tuple[object, ...]:
    (row,) = installation.query(
        "select seq, pending, server_uuid, instance_start_time, rereading, problem, epoch, batch "
        "from v1.couchdb_progress where database = %s",
        database,
    )
    return row


UNCHANGED = ("5-x", 9, "u", "17", False, None, 3, 7)


def test_only_databases_with_a_problem_are_read_again(installed: Installation) -> None:
    written(installed, cht_sync_problem="another%20server")
    written(installed, table="medic-sentinel")
    assert accept_server(owner(installed), "v1") == ["couch/medic"]
    assert position(installed) == ("0", None, None, None, True, None, 3, 0)
    assert position(installed, "medic-sentinel") == UNCHANGED
    assert accept_server(owner(installed), "v1") == []


def test_going_on_keeps_the_position(installed: Installation) -> None:
    written(installed, cht_sync_problem="another%20server")
    assert accept_server(owner(installed), "v1", from_start=False) == ["couch/medic"]
    assert position(installed) == ("5-x", 9, None, None, False, None, 3, 0)


def test_going_on_does_not_end_a_reading_that_has_begun(installed: Installation) -> None:
    written(installed, cht_sync_problem="another%20server", cht_sync_rereading="true")
    accept_server(owner(installed), "v1", from_start=False)
    assert position(installed)[4] is True


def test_a_database_that_is_named_needs_no_problem(installed: Installation) -> None:
    written(installed)
    written(installed, table="medic-sentinel", cht_sync_problem="another%20server")
    assert accept_server(owner(installed), "v1", databases=["medic"]) == ["couch/medic"]
    assert position(installed) == ("0", None, None, None, True, None, 3, 0)
    assert position(installed, "medic-sentinel")[5] == "another server"


def test_a_name_that_has_no_position_is_refused_and_nothing_is_changed(installed: Installation) -> None:
    written(installed, cht_sync_problem="another%20server")
    before = position(installed)
    with pytest.raises(ChtSyncError, match="medic-sentinel: no position"):
        accept_server(owner(installed), "v1", databases=["medic", "medic-sentinel"])
    assert position(installed) == before


def test_a_request_of_a_writer_that_does_not_know_of_it_is_refused(installed: Installation) -> None:
    written(installed)
    accept_server(owner(installed), "v1", databases=["medic"])
    late = {**headers(3, 8, seq="6-x"), "cht-sync-after": "7"}
    with (
        installed.connected() as connection,
        pytest.raises(psycopg2.Error, match="position of couch/medic was put back"),
    ):
        put(connection, ("b", "1-a", {}), headers=late)
    assert position(installed)[0] == "0"


def test_it_stands_in_line_with_the_writers(installed: Installation) -> None:
    """A request that is under way ends first, and its position does not come after the operator's."""
    written(installed)
    changed: list[list[str]] = []
    with installed.connected() as connection:
        put(connection, ("b", "1-a", {}), headers={**headers(3, 8, seq="6-x"), **IDENTITY})
        word = threading.Thread(
            target=lambda: changed.append(accept_server(owner(installed), "v1", databases=["medic"])),
            daemon=True,
        )
        word.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
        eventually(lambda: installed.value(waiting, installed.name) == 1)
        connection.commit()
    word.join(20)
    assert changed == [["couch/medic"]]
    assert position(installed) == ("0", None, None, None, True, None, 3, 0)


def test_without_the_right_to_it_nothing_is_changed_and_the_reason_is_named(installed: Installation) -> None:
    written(installed)
    server = installed.server
    stranger = Endpoint(
        server.host, server.port, installed.name, f"{installed.name}_dbt", installed.passwords["dbt"]
    )
    with pytest.raises(ChtSyncError, match="permission denied") as refused:
        accept_server(stranger, "v1", databases=["medic"])
    assert "POSTGRES_USER" in str(refused.value.hint)
    assert position(installed) == UNCHANGED
