"""Which models are built anew when a package changes, and what becomes of those that cannot be."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import psycopg2
import pytest
from waiting import eventually

from .written_package import INCREMENTAL, ROWS, WrittenPackage

FOLLOWER = "{{ config(materialized='incremental') }} select n, said from {{ ref('base') }}"
OTHER = (
    "{{ config(materialized='incremental') }} select {{ answer() }} as n, '{{ var('word', 'a') }}' as word"
)


def write_macro(package: WrittenPackage, answer: int) -> None:
    (package.folder / "macros").mkdir(exist_ok=True)
    (package.folder / "macros" / "answer.sql").write_text(f"{{% macro answer() %}}{answer}{{% endmacro %}}")


def test_what_changed_and_what_hangs_on_it_is_built_anew_and_nothing_else(
    package: WrittenPackage,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.INFO)
    write_macro(package, 1)
    package.write(base=INCREMENTAL, follower=FOLLOWER, other=OTHER, gone="select 1 as n")
    assert package.succeeds().full_refreshed == ()

    # Another path, another size of batch, another release of dbt and of our macros: the same models.
    moved = Path(shutil.copytree(package.folder, tmp_path / "moved"))
    (manifest,) = package.query("select manifest from dbt.dbt_state")[0]
    content = json.loads(zlib.decompress(bytes(manifest)))
    for macro in content["macros"].values():
        if macro["package_name"] != "small":
            macro["macro_sql"] += "{# older #}"
    with package.warehouse.connection as connection, connection.cursor() as cursor:
        cursor.execute(
            "update dbt.dbt_state set manifest = %s", (zlib.compress(json.dumps(content).encode()),)
        )
    package.folder = moved
    assert package.succeeds(batch_size=7, work_folder=tmp_path / "another").full_refreshed == ()

    package.write(base=INCREMENTAL.replace("some text", "another"))
    (package.folder / "models" / "gone.sql").unlink()
    assert set(package.succeeds().full_refreshed) == {"base", "follower"}
    assert package.query("select distinct said from dbt.follower") == [("another",)]
    assert "no longer in the package, but left as they are: dbt.gone" in caplog.text
    assert package.query("select n from dbt.gone") == [(1,)]

    write_macro(package, 2)
    assert package.succeeds().full_refreshed == ("other",)
    assert package.succeeds(vars={"word": "b"}).full_refreshed == ("other",)
    assert package.query("select n, word from dbt.other") == [(2, "b")]
    assert capfd.readouterr().out == ""


def test_tables_of_which_nothing_is_known_are_built_anew_once(
    package: WrittenPackage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = "{{ config(materialized='incremental', full_refresh=false) }} select 1 as n"
    package.write(base=INCREMENTAL, kept=kept)
    package.succeeds()
    package.query("drop table dbt.dbt_state")
    package.write(base=INCREMENTAL.replace("some text", "another"), new=INCREMENTAL)
    assert package.succeeds().full_refreshed == ("base",)
    assert package.query("select distinct said from dbt.base") == [("another",)]
    assert "built anew: base, kept" in caplog.text
    assert "full_refresh is false: old rows stay in kept" in caplog.text
    assert package.succeeds().full_refreshed == ()


def test_a_refresh_takes_all_rows_whatever_the_size_of_a_batch(package: WrittenPackage) -> None:
    base = """
        {{ config(materialized='incremental') }}
        select n, 1 as version from generate_series(1, 500) as n
        {% if is_incremental() %} where n > (select max(n) from {{ this }}) {% endif %}
        order by n {% if var('batch_size', none) is not none %} limit {{ var('batch_size') }} {% endif %}
    """
    package.write(base=base)
    package.succeeds(batch_size=10)
    package.succeeds(batch_size=10)
    assert package.query("select count(*) from dbt.base") == [(20,)]
    package.write(base=base.replace("1 as version", "2 as version"))
    assert package.succeeds(batch_size=10).full_refreshed == ("base",)
    assert package.query("select count(*) from dbt.base where version = 2") == [(ROWS,)]


def test_a_refresh_that_fails_or_is_killed_is_tried_again_and_readers_keep_the_old_rows(
    package: WrittenPackage,
) -> None:
    package.write(base=INCREMENTAL, follower=FOLLOWER)
    package.succeeds()
    package.query("create table dbt.switch as select 'fail' as way")
    package.query("grant select on dbt.switch to public")
    changed = (
        INCREMENTAL.replace("some text", "another").replace("select n", "select n + wait.none as n").rstrip()
    )
    wait = """, (
      select case way when 'fail' then 1 / (length(way) - 4) when 'wait' then length(pg_sleep(600)::text)
        else 0 end as none
      from dbt.switch
    ) as wait {% if is_incremental() %}"""
    package.write(base=changed.replace("{% if is_incremental() %}", wait))
    for _ in range(2):
        outcome = package.run()
        assert [failure.name for failure in outcome.failures] == ["base"]
        assert (outcome.skipped, outcome.full_refreshed) == (("follower",), ())
        assert package.query("select distinct said from dbt.follower union select said from dbt.base") == [
            ("some text",)
        ]

    package.query("update dbt.switch set way = 'wait'")
    options = replace(package.warehouse.options, url=str(package.folder))
    program = (
        "import json, os; from pathlib import Path; from cht_sync.transform.options import TransformOptions\n"
        "from cht_sync.transform.runner import DbtRunner\n"
        "given = json.loads(os.environ['OPTIONS'])\n"
        "for name in ('project', 'profiles', 'work_folder'): given[name] = Path(given[name])\n"
        "DbtRunner(TransformOptions(**given)).run()\n"
    )
    environment = {**os.environ, "OPTIONS": json.dumps(asdict(options), default=str)}
    running = subprocess.Popen([sys.executable, "-c", program], env=environment)
    sleeping = (
        "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    )
    try:
        eventually(lambda: bool(package.query(sleeping)))
        assert package.query("select distinct said from dbt.base") == [("some text",)]
    finally:
        running.kill()
        running.wait()
    package.query(f"select pg_terminate_backend(pid) from ({sleeping}) as one")
    package.query("update dbt.switch set way = 'go'")
    assert set(package.succeeds().full_refreshed) == {"base", "follower"}
    assert package.query("select count(*) from dbt.follower where said = 'another'") == [(ROWS,)]
    assert package.succeeds().full_refreshed == ()


def test_a_warm_runner_notices_that_another_process_built_the_tables_or_a_backup_was_restored(
    package: WrittenPackage,
) -> None:
    grows = """
        {{ config(materialized='incremental') }} select n, '{{ var('word', 'a') }}' as word
        from (select n from generate_series(1, 3) as n) as numbers
        {% if is_incremental() %} where n > 2 {% endif %}
    """
    package.write(base=INCREMENTAL, grows=grows)
    warm, other = package.runner(), package.runner(vars={"word": "b"})
    words = "select distinct word from dbt.grows"
    assert warm.run().succeeded
    package.query("create table dbt.backup as select * from dbt.dbt_state")
    assert other.run().full_refreshed == ("grows",)
    assert package.query(words) == [("b",)]
    assert warm.run().full_refreshed == ("grows",)
    assert package.query(words) == [("a",)]
    assert warm.run().full_refreshed == ()
    assert other.run().full_refreshed == ("grows",)

    # The tables of one moment with the state of another: as if only a part had been restored.
    package.query("delete from dbt.dbt_state")
    package.query("insert into dbt.dbt_state select * from dbt.backup")
    assert other.run().full_refreshed == ("grows",)
    assert package.query(words) == [("b",)]
    package.query("drop table dbt.dbt_state")
    assert set(other.run().full_refreshed) == {"base", "grows"}
    assert other.run().full_refreshed == ()


def test_a_package_cannot_read_the_secrets_of_cht_sync(
    package: WrittenPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHT_PIPELINE_TOKEN", "t0ken")
    monkeypatch.setenv("COUCHDB_PASSWORD", "s3cret")
    names = ("CHT_PIPELINE_TOKEN", "COUCHDB_PASSWORD")
    package.write(
        base=" union all ".join(f"select '{{{{ env_var('{name}', 'none') }}}}' as said" for name in names)
    )
    package.succeeds()
    assert package.query("select distinct said from dbt.base") == [("none",)]
    assert os.environ["CHT_PIPELINE_TOKEN"] == "t0ken"


def test_the_state_cannot_be_told_where_postgresql_is_away(package: WrittenPackage) -> None:
    package.write(base=INCREMENTAL)
    with pytest.raises(psycopg2.OperationalError):
        package.run(port=1)
