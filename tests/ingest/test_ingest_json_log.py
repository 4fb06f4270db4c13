"""The log of the ingest server in JSON: PostgreSQL goes and comes back, requests fail meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg2
from free_ports import free_port
from ingest_support import SECRET, Installation, wait_until
from json_log import entries, events
from psycopg2.extensions import parse_dsn

from cht_sync.settings import CHECKOUT

REQUESTS = 200


def test_an_outage_is_a_few_lines_of_json(installation: Installation, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "ingest.log"
    given = {
        "PGRST_DB_URI": installation.config.db_uri,
        "PGRST_DB_SCHEMAS": "v1",
        "PGRST_DB_ANON_ROLE": installation.config.anon_role,
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_LOG_LEVEL": "warn",
        "LOG_FORMAT": "json",
        "PATH": os.environ["PATH"],
    }
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "cht_sync", "ingest", "serve"],
            env=given,
            cwd=CHECKOUT,
            stdout=out,
            stderr=out,
        )
    client = installation.client(port)
    role = parse_dsn(installation.config.db_uri)["user"]

    def status() -> int:
        try:
            return client.get("/docs").status
        except OSError:
            return 0

    try:
        wait_until(lambda: status() == 200)
        installation.execute(f"alter role {role} nologin")
        with psycopg2.connect(installation.dsn) as owner, owner.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (role,)
            )
        owner.close()
        wait_until(lambda: status() == 503)
        for _ in range(REQUESTS):
            assert status() >= 500
        installation.execute(f"alter role {role} login")
        wait_until(lambda: status() == 200)
    finally:
        server.terminate()
        server.wait(30)
    text = log.read_text()
    assert len(entries(text)) < REQUESTS / 10
    said = events(text)
    for event in ("listening", "schema_loaded", "postgres_lost", "postgres_regained", "requests_recovered"):
        assert event in said
    [recovered, *_] = [one for one in entries(text) if one.get("event") == "requests_recovered"]
    assert recovered["requests"] >= 1
