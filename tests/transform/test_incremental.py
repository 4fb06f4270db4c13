"""The oracle: whatever happened in between, the incremental models equal a full refresh."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql

from cht_sync.transform.runner import DbtRunner

from .warehouse import FORMS, MEDIC, MODELS, SENTINEL, Warehouse, run

SHAPES: list[Any] = [
    None,
    {"type": "person", "name": "A", "date_of_birth": "2001-02-30"},
    {"type": "person", "name": "B", "date_of_birth": "2001-02-03"},
    {"type": "contact", "contact_type": "person"},
    {"type": "contact", "contact_type": "village", "parent": {"_id": "up"}},
    {"type": "clinic", "reported_date": "soon"},
    {"type": "data_record", "form": "delivery", "fields": {"n": 1}},
    {"type": "data_record"},
    {"type": "task"},
]


def tables(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    return {model: warehouse.rows(model) for model in MODELS}


def test_after_random_changes_the_incremental_result_equals_a_full_refresh(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    chance = random.Random(20)
    run(dbt)
    for _ in range(4):
        for _ in range(30):
            doc_id = f"random-{chance.randrange(12)}"
            database = chance.choice([MEDIC, SENTINEL])
            if chance.random() < 0.25:
                warehouse.delete(doc_id, database=database)
            else:
                source = chance.choice([None, f"couch/{database}"])
                warehouse.put(doc_id, chance.choice(SHAPES), database=database, source=source)
        run(dbt)
    incremental = tables(warehouse)
    run(dbt, full_refresh=True)
    assert tables(warehouse) == incremental
    assert any(row["uuid"].startswith("random-") for row in incremental["person"])


def test_a_transaction_that_is_open_during_a_run_is_read_by_the_next(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    run(dbt)
    table = sql.Identifier(warehouse.options.raw_schema, SENTINEL)
    with closing(psycopg2.connect(warehouse.connection.dsn, password=_password(warehouse))) as slow:
        slow.cursor().execute(
            sql.SQL("""insert into {} (_id, doc) values ('slow', '{{"type": "person"}}')""").format(table)
        )
        run(dbt)
        assert warehouse.rows("person", "slow") == []
        slow.commit()
    warehouse.put("quick", {"type": "person"})
    run(dbt)
    assert (
        warehouse.row("person", "slow")["saved_timestamp"]
        < warehouse.row("person", "quick")["saved_timestamp"]
    )


def test_documents_that_are_no_rows_of_a_model_are_not_read_again(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    warehouse.put("not-a-person", {"type": "task"})
    run(dbt)
    newest = warehouse.row("document_metadata", "not-a-person")["saved_timestamp"]
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute("select model, to_jsonb(saved_timestamp) #>> '{}' from dbt.model_progress")
        read_until = dict(cursor.fetchall())
    # Other tests may have left models of their own.
    assert {model: read_until[model] for model in (*MODELS[1:], *FORMS)} == dict.fromkeys(
        (*MODELS[1:], *FORMS), newest
    )


def _password(warehouse: Warehouse) -> str:
    return str(warehouse.connection.info.password)
