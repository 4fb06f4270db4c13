"""What `up` records is found again by whoever comes later, and one supervisor only holds an environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cht_sync import process
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.process import ProcessId
from cht_sync.runtime import state as states
from cht_sync.runtime.state import EnvironmentState, Failure, ServiceState
from cht_sync.runtime.supervisor import is_supervised, stop_leftovers


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[list[ProcessId]]:
    children = [process.start(["sleep", "600"], log=tmp_path / "sleep.log") for _ in range(2)]
    identities = [ProcessId.of(child.pid) for child in children]
    yield identities
    for identity, child in zip(identities, children, strict=True):
        process.kill(identity)
        child.wait()


def recorded(*services: ServiceState, supervisor: ProcessId | None = None) -> EnvironmentState:
    supervisor = supervisor or ProcessId.of(os.getpid())
    return EnvironmentState(
        environment=Environment.LOCAL,
        runtime="embedded",
        supervisor_pid=supervisor.pid,
        supervisor_started=supervisor.started,
        services=list(services),
        given={"COUCHDB_PASSWORD": "swordfish"},
    )


def as_service(name: str, identity: ProcessId) -> ServiceState:
    return ServiceState(name, "running", pid=identity.pid, started=identity.started)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    state = recorded(
        ServiceState("couchdb", "running", port=5984, since=1.5, pid=7, started=1.25), ServiceState("dbt")
    )
    state.failure = Failure("dbt: ended", "Look at its log", ["last", "words"])
    states.write(tmp_path, state)
    assert states.read(tmp_path) == state


def test_only_the_owner_may_read_the_state_because_settings_are_in_it(tmp_path: Path) -> None:
    states.write(tmp_path, recorded())
    assert (tmp_path / states.STATE_FILE).stat().st_mode & 0o777 == 0o600


def test_where_nothing_was_recorded_there_is_no_state(tmp_path: Path) -> None:
    assert states.read(tmp_path) is None
    states.write(tmp_path, recorded())
    states.forget(tmp_path)
    states.forget(tmp_path)
    assert states.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "{}", '{"environment": "mars"}'])
def test_a_damaged_state_is_an_error_with_the_way_out(content: str, tmp_path: Path) -> None:
    (tmp_path / states.STATE_FILE).write_text(content)
    with pytest.raises(ChtSyncError, match=r"state\.json cannot be read") as failure:
        states.read(tmp_path)
    assert failure.value.hint == "Delete that file if nothing runs any more."


def test_leftovers_are_the_recorded_processes_that_live_the_last_started_first(
    sleepers: list[ProcessId],
) -> None:
    first, second = sleepers
    gone = ProcessId(first.pid, first.started - 60)
    state = recorded(
        as_service("postgres", first),
        as_service("couchdb", gone),
        ServiceState("postgrest"),
        as_service("dbt", second),
    )
    assert state.leftovers() == [second, first]


def test_leftovers_are_stopped_and_counted(sleepers: list[ProcessId]) -> None:
    state = recorded(*(as_service(f"service-{number}", one) for number, one in enumerate(sleepers)))
    assert stop_leftovers(state) == 2
    assert [identity.find() for identity in sleepers] == [None, None]
    assert stop_leftovers(state) == 0


def test_an_environment_is_supervised_as_long_as_its_supervisor_lives(sleepers: list[ProcessId]) -> None:
    state = recorded(supervisor=sleepers[0])
    assert is_supervised(state)
    process.kill(sleepers[0])
    assert not is_supervised(state)


def test_a_second_supervisor_is_refused_and_the_next_is_let_in(tmp_path: Path) -> None:
    with states.only_one(tmp_path):
        with (
            pytest.raises(ChtSyncError, match="another cht-sync runs in ") as refusal,
            states.only_one(tmp_path),
        ):
            pytest.fail("two at once")
        assert refusal.value.hint is not None
        assert "cht-sync down" in refusal.value.hint
    with states.only_one(tmp_path):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from cht_sync import process
from cht_sync.runtime import state
with state.only_one(Path(sys.argv[1])):
    child = process.start(["sleep", "600"], log=Path(sys.argv[1]) / "log")
    print(child.pid, flush=True)
    time.sleep(600)
"""


def test_a_killed_supervisor_lets_go_also_while_its_services_live_on(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    service = ProcessId.of(int(holder.stdout.readline()))
    with pytest.raises(ChtSyncError, match="another cht-sync runs"), states.only_one(tmp_path):
        pytest.fail("two at once")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert service.find() is not None
    with states.only_one(tmp_path):
        process.kill(service)
