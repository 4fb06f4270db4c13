"""Models follow a partitioned table as any other, and read nothing again when it becomes one."""

from __future__ import annotations

from typing import Any

from postgres_fixture import PostgresServer
from psycopg2 import sql
from warehouse.installation import Installation
from warehouse.partitioning import partition

from cht_sync.transform.runner import DbtRunner

from .warehouse import MODELS, Warehouse, run

WRITTEN = ("document_metadata", "contact", "contact_hierarchy", "data_record")


def versions(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Each row's version: what is written anew has another."""
    found = {}
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        for model in WRITTEN:
            table = sql.Identifier(warehouse.options.schema, model)
            cursor.execute(sql.SQL("select uuid, xmin::text, ctid::text from {} order by 1").format(table))
            found[model] = cursor.fetchall()
    return found


def test_models_read_nothing_again_and_go_on_in_the_new_table(
    fresh: Warehouse, postgres_server: PostgresServer
) -> None:
    dbt = DbtRunner(fresh.options)
    for number in range(20):
        fresh.put(f"person-{number}", {"type": "person", "parent": {"_id": "place"}})
        fresh.put(f"report-{number}", {"type": "data_record", "form": "delivery", "fields": {"n": number}})
    fresh.put("place", {"type": "clinic", "name": "Up"})
    run(dbt)
    before = versions(fresh)
    installation = Installation(postgres_server, fresh.options.database)
    for count in (4, 0, 8):
        partition(installation, count)
        run(dbt)
        assert versions(fresh) == before
    fresh.put("person-1", {"type": "person", "name": "Anew", "parent": {"_id": "place"}})
    fresh.put("person-new", {"type": "person", "parent": {"_id": "place"}})
    fresh.delete("person-2")
    run(dbt)
    assert fresh.row("person", "person-1")["name"] == "Anew"
    assert [len(fresh.rows("person", one)) for one in ("person-new", "person-2")] == [1, 0]
    incremental = {model: fresh.rows(model) for model in MODELS}
    run(dbt, full_refresh=True)
    assert {model: fresh.rows(model) for model in MODELS} == incremental
