"""Servers that come back as others: in recovery, without their schema, with another password."""

from __future__ import annotations

import random
import secrets
import signal

from psycopg2 import sql

from faults.chain import Chain
from faults.parts import CouchDB
from faults.proxy import Cut


def test_a_postgresql_in_recovery_takes_nothing_and_is_waited_for(
    documents_only: Chain, dice: random.Random
) -> None:
    chain = documents_only
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        assert chain.postgres.signal(signal.SIGINT) == 0
        chain.becomes_a_standby()
        chain.restart(chain.postgres)
        assert chain.world.installation.value("select pg_is_in_recovery()")
        chain.says(chain.postgrest, "during recovery")
        # Reading works, as it did.
        assert chain.world.rows()
        chain.world.query("select pg_promote()")
        chain.moves()
    chain.caught_up()
    chain.proves_itself()


def test_a_schema_that_is_dropped_stops_with_its_remedy_and_comes_back_whole(
    documents_only: Chain, dice: random.Random
) -> None:
    chain = documents_only
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        chain.world.query("drop schema v1 cascade")
        chain.says(chain.logstash, "cht-sync init-db")
        chain.init_db()
        chain.moves()
    chain.caught_up()
    chain.proves_itself()


def test_a_password_of_postgrest_that_is_rotated_is_named_and_never_shown(
    documents_only: Chain, dice: random.Random
) -> None:
    chain = documents_only
    installation = chain.world.installation
    role = sql.Identifier("data_authenticator")
    old = installation.passwords["authenticator"]
    new = secrets.token_hex(8)
    change = sql.SQL("alter role {} password {}")
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        installation.query(change.format(role, sql.Literal(new)))
        installation.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'data_authenticator'"
        )
        chain.says(chain.postgrest, "password authentication failed")
        chain.says(chain.logstash, "cht-sync logs postgrest")
        installation.query(change.format(role, sql.Literal(old)))
        chain.moves()
    chain.caught_up()
    chain.proves_itself()
    for part in chain.parts:
        assert new not in part.said()
        assert old not in part.said()


def test_a_password_of_couchdb_that_is_rotated_costs_one_try_and_not_the_account(
    documents_only: Chain, dice: random.Random
) -> None:
    chain = documents_only
    world, proxy = chain.world, chain.proxies["source"]
    service = chain.couchdb.service
    assert isinstance(service, CouchDB)
    with proxy.faulty(Cut()) as cut:
        cut.felt()
        chain.couchdb.stop()
        service.password = world.couch.password = secrets.token_urlsafe(16)
        chain.restart(chain.couchdb)
    refused = proxy.requests
    chain.says(chain.logstash, "refuses the login")
    world.put("while the login rests")
    chain.stands_still()
    assert proxy.requests - refused <= 2
    # The operator corrects .env: `down` and `up`.
    assert chain.logstash.signal(signal.SIGTERM) == 0
    chain.logstash.use(chain.new_logstash())
    chain.logstash.start()
    chain.caught_up()
    chain.proves_itself()
