"""The oracle: whatever happened in between, the incremental models equal a full refresh.

Two pipelines write at the same time, with transactions that stay open; runs come in between, and are cut in
two with changes in the middle. Every model of our package is compared, all columns.

`ORACLE_EXAMPLES=200 pytest -s tests/transform/test_oracle.py` looks longer, `ORACLE_SEED=...` again.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import ClassVar

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from postgres_fixture import PostgresServer
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.transform.options import TransformOptions
from cht_sync.transform.runner import DbtRunner

from .oracle_documents import ALL_IDS, BY_ID, NAMES, OF_PLACES, PLACES, documents
from .oracle_pipeline import Change, Pipeline
from .warehouse import MEDIC, SENTINEL, create_warehouse, run

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "0"))
IN_EVERY_RUN_OF_THE_TESTS = 4
REFRESHED = "refreshed"
"""The schema of the full refresh."""


@dataclass(frozen=True)
class World:
    """The server's database, the models as the loop makes them, and what makes them anew."""

    owner: Connection
    options: TransformOptions
    incremental: DbtRunner
    refreshed: DbtRunner
    pipelines: tuple[Pipeline, Pipeline]

    def empty(self) -> None:
        """As before the first run of a new installation."""
        with self.owner, self.owner.cursor() as cursor:
            for pipeline in self.pipelines:
                cursor.execute(sql.SQL("truncate {}").format(sql.Identifier("v1", pipeline.database)))
            for schema in (self.options.schema, REFRESHED):
                names = {"schema": sql.Identifier(schema), "role": sql.Identifier(self.options.user)}
                cursor.execute(sql.SQL("drop schema if exists {schema} cascade").format(**names))
                cursor.execute(sql.SQL("create schema {schema} authorization {role}").format(**names))

    def table(self, schema: str, model: str) -> list[str]:
        with self.owner, self.owner.cursor() as cursor:
            cursor.execute(
                sql.SQL("select to_jsonb(model)::text from {} as model").format(sql.Identifier(schema, model))
            )
            return [row for (row,) in cursor.fetchall()]


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("oracle")
    options = create_warehouse(postgres_server, folder / "incremental")
    refreshed = replace(options, schema=REFRESHED, work_folder=folder / "refreshed")
    dsn = postgres_server.dsn(options.database)
    with ExitStack() as stack:
        owner, medic, sentinel = (stack.enter_context(closing(psycopg2.connect(dsn))) for _ in range(3))
        pipelines = (Pipeline(MEDIC, medic), Pipeline(SENTINEL, sentinel))
        for pipeline in pipelines:
            stack.callback(pipeline.thread.shutdown)
        yield World(owner, options, DbtRunner(options), DbtRunner(refreshed), pipelines)


def new_revision(draw: st.DrawFn) -> str:
    return f"2-{draw(st.integers(0, 2**32)):x}"


@st.composite
def changes(draw: st.DrawFn, database: str) -> Change:
    doc_id = draw(st.sampled_from(ALL_IDS))
    deleted = draw(st.integers(0, 4)) == 0
    bare = deleted and draw(st.booleans())
    return Change(
        doc_id,
        new_revision(draw),
        {"_id": doc_id, "_deleted": True} if bare else draw(documents(doc_id)),
        deleted,
        draw(st.sampled_from([f"couch/{database}"] * 4 + [None])),
    )


EVENTS = ("change_a_place", "some_changes", "end", "write_the_same_again", "begin", "end")


class Oracle(RuleBasedStateMachine):
    """Each rule is something that happens in an installation."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[int, Sequence[Change]] = {}
        self.models: tuple[str, ...] = ()
        self.holder: Pipeline | None = None
        """Whose open transaction has written: the writes of the other wait for its end."""

    @initialize(data=st.data(), already_run=st.sampled_from([True, True, False]))
    def a_new_installation(self, data: st.DataObject, already_run: bool) -> None:
        self.world.empty()
        first = [Change(doc_id, "1-a", doc, False, f"couch/{MEDIC}") for doc_id, doc in BY_ID.items()]
        self.world.pipelines[0].write(first)
        self.some_changes(data, 1)
        if already_run:
            self.run()

    @rule(
        data=st.data(),
        events=st.lists(st.sampled_from(EVENTS), min_size=4, max_size=12),
        anew=st.sampled_from([False, False, False, True]),
    )
    def a_while_and_then_a_run(self, data: st.DataObject, events: Sequence[str], anew: bool) -> None:
        for event in events:
            getattr(self, event)(data, data.draw(st.sampled_from([0, 0, 1]), label="database"))
        if self.models:
            self.run_with_changes_in_the_middle(data)
        else:
            self.run()
        if anew:
            # A model and all that reads it, as when it has changed.
            model = data.draw(st.sampled_from(self.models), label="model")
            outcome = self.world.incremental.run(full_refresh=True, select=[f"{model}+"])
            assert outcome.succeeded, outcome.failures

    @precondition(lambda self: self.models and EXAMPLES)
    @rule()
    def compare(self) -> None:
        self.run()
        run(self.world.refreshed, full_refresh=True)
        for model in self.models:
            incremental = Counter(self.world.table(self.world.options.schema, model))
            refreshed = Counter(self.world.table(REFRESHED, model))
            assert (incremental - refreshed, refreshed - incremental) == (Counter(), Counter()), model

    def teardown(self) -> None:
        self.end_all()
        self.compare()

    def end_all(self) -> None:
        while ending := self.holder or next((one for one in self.world.pipelines if one.open), None):
            ending.end(keep=True)
            self.settle()

    def run(self) -> None:
        outcome = run(self.world.incremental)
        # As they were built: each after those that it reads.
        self.models = tuple(node.name for node in outcome.nodes if node.kind == "model")

    def run_with_changes_in_the_middle(self, data: st.DataObject) -> None:
        """Between any two of its models."""
        before = data.draw(st.integers(1, len(self.models) - 1), label="models before it")
        self.run_only(self.models[:before])
        if data.draw(st.integers(0, 3), label="transactions stay open at 3") < 3:
            self.end_all()
        self.change_a_place(data, 0)
        self.some_changes(data, 1)
        self.run_only(self.models[before:])

    def run_only(self, models: Sequence[str]) -> None:
        outcome = self.world.incremental.run(select=models)
        assert outcome.succeeded, outcome.failures

    def some_changes(self, data: st.DataObject, number: int) -> None:
        database = self.world.pipelines[number].database
        several = st.lists(changes(database), min_size=2, max_size=8, unique_by=lambda change: change.doc_id)
        self.write_these(number, data.draw(several))

    def change_a_place(self, data: st.DataObject, number: int) -> None:
        """What is above others: all that lies below shows it."""
        place = data.draw(st.sampled_from(PLACES), label="place")
        doc = {**BY_ID[place], **data.draw(st.fixed_dictionaries(NAMES, optional=OF_PLACES), label="with")}
        source = f"couch/{self.world.pipelines[number].database}"
        deleted = data.draw(st.integers(0, 5), label="deleted at 5") == 5
        self.write_these(number, [Change(place, new_revision(data.draw), doc, deleted, source)])

    def write_the_same_again(self, _data: st.DataObject, number: int) -> None:
        if number in self.last:
            self.write_these(number, self.last[number])

    def begin(self, _data: st.DataObject, number: int) -> None:
        pipeline = self.world.pipelines[number]
        if not pipeline.open:
            pipeline.open, pipeline.written = True, False

    def end(self, data: st.DataObject, number: int) -> None:
        """Of the transaction that holds up the other, where there is one."""
        open_ones = [pipeline for pipeline in self.world.pipelines if pipeline.open]
        if self.holder or open_ones:
            (self.holder or open_ones[0]).end(keep=data.draw(st.integers(0, 3), label="kept below 3") < 3)
            self.settle()

    def write_these(self, number: int, written: Sequence[Change]) -> None:
        self.last[number] = written
        self.world.pipelines[number].write(written)
        self.settle()

    def settle(self) -> None:
        """Wait for the writes that can be done; others wait for the end of the holder's transaction."""
        if self.holder and not self.holder.holds_the_line:
            self.holder.settle()
            self.holder = None
        for pipeline in [self.holder] if self.holder else self.world.pipelines:
            pipeline.settle()
            if pipeline.holds_the_line:
                self.holder = pipeline
                return


@pytest.mark.timeout(0 if EXAMPLES else 900)
def test_incremental_models_equal_a_full_refresh(world: World) -> None:
    number = int(os.environ.get("ORACLE_SEED", secrets.randbelow(2**32)))
    print(f"ORACLE_SEED={number}")
    # What is found is made smaller only where there is time.
    phases = [Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate]
    Oracle.world = world
    run_state_machine_as_test(
        seed(number)(Oracle),
        settings=settings(
            max_examples=EXAMPLES or IN_EVERY_RUN_OF_THE_TESTS,
            stateful_step_count=12 if EXAMPLES else 3,
            deadline=None,
            database=None,
            print_blob=False,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )
