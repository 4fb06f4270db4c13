"""The HTTP status of an SQLSTATE is the one that PostgREST was seen to answer."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from cht_sync.ingest.errors import from_database

RECORDINGS = Path(__file__).parents[3] / "shared" / "contracts" / "postgrest"


def recordings() -> list[Path]:
    return [path for path in sorted(RECORDINGS.glob("*-rpc-raise-*.json")) if "retried" not in path.name]


@pytest.fixture(scope="module")
def connection(postgres_server: Any) -> Any:
    with contextlib.closing(psycopg2.connect(postgres_server.dsn())) as connection:
        connection.autocommit = True
        yield connection


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_a_raised_error_becomes_the_recorded_answer(connection: Any, path: Path) -> None:
    recorded = json.loads(path.read_text())
    expected = recorded["response"]
    if expected is None:
        pytest.skip("the recording has no answer")
    arguments = json.loads(recorded["request"]["body"])
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
        cursor.execute(
            f"DO $$ BEGIN RAISE EXCEPTION '{arguments['msg']}'"
            f" USING errcode = '{arguments['code']}', detail = 'the detail', hint = 'the hint'; END $$"
        )
    answer = from_database(caught.value, authenticated=True)
    assert answer.status == expected["status"]
    assert json.loads(answer.body()) == json.loads(expected["body"])
    assert dict(answer.headers).get("Retry-After") == expected["headers"].get("Retry-After")
