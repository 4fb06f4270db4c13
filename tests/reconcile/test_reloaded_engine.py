"""A pipeline that is reloaded again and again during a load goes on where it was."""

from __future__ import annotations

import pytest
from faults.load import Load
from pipeline.reloading_engine import ReloadingEngine
from waiting import eventually

from cht_sync import render
from cht_sync.settings import file_name
from reconcile.world import World, found

RELOADS = 5


def test_reloads_during_a_load_lose_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    people = Load(world, 1, people=2_000, pause=0.025)
    world.put(*[f"person-{n}" for n in range(2_000)])
    settings = world.settings
    text = render.render(settings, engine="native")[f"pipeline/{file_name(world.database)}.conf"]
    text = text.replace('"data/', f'"{world.home}/data/')
    (world.home / "medic.conf").write_text(text)
    listed = "- {pipeline.id: medic, path.config: medic.conf, pipeline.batch.size: 20}"
    engine = ReloadingEngine(world.home, listed, env=render.variables(settings))
    people.start()

    def progress() -> tuple[int, int]:
        rows = world.installation.query("select epoch, batch from v1.couchdb_progress")
        return rows[0] if rows else (0, 0)

    for number in range(1, RELOADS + 1):
        before = progress()
        eventually(lambda before=before: progress() > before)  # type: ignore[misc]
        engine.write("medic.conf", text + "\n" * number)
        engine.ask()
        eventually(lambda number=number: engine.registry.reloads.successes == number)  # type: ignore[misc]
    people.stop()
    eventually(lambda: world.rows() == world.winners())
    engine.stop()
    assert "standing by" not in caplog.text
    assert world.letters() == []
    assert found(world.verify()) == {}
