"""Each service gets a port that is free; only a default may give way to another one."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from free_ports import free_port

from cht_sync.environments import Environment
from cht_sync.errors import ServiceError
from cht_sync.runtime import ports
from cht_sync.settings import Settings, load


@pytest.fixture
def taken() -> Iterator[int]:
    """A loopback port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def settings(**given: str) -> Settings:
    return load(Environment.LOCAL, home=Path("nowhere"), environ=given)


def with_defaults(**places: int) -> Settings:
    """Settings whose ports are these, as if they were the defaults."""
    return dataclasses.replace(settings(), **places)  # type: ignore[arg-type]


def test_a_port_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not ports.is_free(taken)


def test_a_port_taken_on_all_addresses_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        assert not ports.is_free(int(listener.getsockname()[1]))


def test_a_port_taken_at_the_published_address_is_not_free() -> None:
    with socket.create_server(("127.0.0.77", 0)) as listener:
        port = int(listener.getsockname()[1])
        assert ports.is_free(port)
        assert not ports.is_free(port, "127.0.0.77")
        assert not ports.is_free(port, "0.0.0.0")


def test_a_port_that_is_kept_at_another_address_is_not_free() -> None:
    port = free_port()
    with closing(ports.Reservations()) as containers:
        assert containers.take(port, "127.0.0.77")
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_a_port_taken_on_ipv6_only_is_not_free() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        assert not ports.is_free(int(listener.getsockname()[1]))


def test_a_default_that_is_free_is_used() -> None:
    couchdb, postgres = free_port(), free_port()
    before = with_defaults(couchdb_port=couchdb, postgres_port=postgres)
    chosen = ports.choose(before, ["postgres", "couchdb", "data-generator"], {"couchdb": 1})
    assert chosen == before


def test_a_default_that_is_taken_gives_way_to_the_port_of_last_time(taken: int) -> None:
    earlier = free_port()
    chosen = ports.choose(with_defaults(couchdb_port=taken), ["couchdb"], {"couchdb": earlier})
    assert chosen.couchdb_port == earlier


def test_a_default_that_is_taken_gives_way_to_any_free_port(taken: int) -> None:
    chosen = ports.choose(with_defaults(couchdb_port=taken), ["couchdb"], {"couchdb": taken})
    assert chosen.couchdb_port != taken
    assert ports.is_free(chosen.couchdb_port)


def test_a_port_of_a_server_is_none_that_the_system_gives_to_a_connection(taken: int) -> None:
    chosen = ports.choose(with_defaults(couchdb_port=taken), ["couchdb"], {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = server.getsockname()[1]
    assert chosen.couchdb_port in ports.FOR_SERVERS
    assert connections not in ports.FOR_SERVERS


def test_where_every_port_is_taken_the_setting_to_change_is_named(taken: int) -> None:
    with pytest.raises(ServiceError) as refusal:
        ports.choose(with_defaults(couchdb_port=taken), ["couchdb"], {}, lambda _port: False)
    assert refusal.value.message == "couchdb: no port from 20000 to 32767 is free"
    assert refusal.value.hint == "set COUCHDB_PORT"


def test_a_port_that_the_operator_set_is_never_changed(taken: int) -> None:
    with pytest.raises(ServiceError) as refusal:
        ports.choose(settings(COUCHDB_PORT=str(taken)), ["couchdb"], {})
    assert refusal.value.message == f"couchdb: port {taken} is taken"
    assert refusal.value.hint == "free it, or set COUCHDB_PORT to another one"


def test_a_port_left_empty_by_the_operator_is_a_default(taken: int) -> None:
    unset = dataclasses.replace(settings(COUCHDB_PORT=""), couchdb_port=taken)
    assert ports.choose(unset, ["couchdb"], {}).couchdb_port != taken


def test_two_services_never_get_the_same_port(taken: int) -> None:
    shared = free_port()
    chosen = ports.choose(
        with_defaults(postgres_port=shared, couchdb_port=shared, postgrest_port=taken),
        ["postgres", "couchdb", "postgrest"],
        {"couchdb": shared, "postgrest": shared},
    )
    assert chosen.postgres_port == shared
    assert len({chosen.postgres_port, chosen.couchdb_port, chosen.postgrest_port}) == 3


def test_the_ports_of_services_that_are_not_started_stay_as_they_are(taken: int) -> None:
    before = with_defaults(couchdb_port=taken)
    assert ports.choose(before, ["data-generator"], {}) == before


def test_a_port_that_another_installation_keeps_is_not_chosen(tmp_path: Path) -> None:
    other = ports.Reservations()
    settings = load(Environment.LOCAL, home=tmp_path, environ={})
    first = ports.choose(settings, ["couchdb"], {}, other.take).couchdb_port
    second = ports.choose(settings, ["couchdb"], {}).couchdb_port
    other.close()
    assert first != second
    assert ports.is_free(first)
