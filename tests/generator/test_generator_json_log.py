"""The log of the data generator in JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from couchdb_fixture import CouchDBServer
from json_log import entries

from cht_sync.settings import CHECKOUT


def test_all_that_it_says_is_json(
    couchdb_server: CouchDBServer, couchdb_database: str, tmp_path: Path
) -> None:
    given = {
        "CHT_SYNC_HOME": str(tmp_path),
        "COUCHDB_HOST": couchdb_server.host,
        "COUCHDB_PORT": str(couchdb_server.port),
        "COUCHDB_USER": couchdb_server.user,
        "COUCHDB_PASSWORD": couchdb_server.password,
        "COUCHDB_DBS": couchdb_database,
        "LOG_FORMAT": "json",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "cht_sync", "generate", "--docs", "20", "--remote"],
        env=given,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=True,
    )
    [told] = entries(done.stdout)
    assert (told["event"], told["database"], told["documents"]) == (
        "documents_generated",
        couchdb_database,
        22,
    )
