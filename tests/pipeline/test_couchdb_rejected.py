"""Whether the text of a change that cannot be read stays with its dead letter."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.couchdb.handoff import Gathered
from cht_sync.pipeline.inputs.couchdb_changes import CouchdbChanges, Options
from cht_sync.pipeline.plugins import PluginContext

PATIENCE = 20.0
LETTER = Rejected("a", "1-a", "7-x", "malformed", "no object", '["Achieng"]')


@pytest.mark.parametrize(
    ("database", "keep", "document"),
    [
        ("medic", True, '["Achieng"]'),
        ("medic", False, None),
        ("_users", True, None),
        ("%5Fusers", True, None),
    ],
)
def test_it_stays_unless_keep_rejected_is_false_and_never_for_users(
    tmp_path: Path, database: str, keep: bool, document: str | None
) -> None:
    options = Options(db=database, port=1, sequence_path=str(tmp_path / "seq"), keep_rejected=keep)
    source = CouchdbChanges(options, PluginContext("medic", tmp_path))
    source.start(None, threading.Event())
    try:
        source._handoff.put(Gathered(rejected=[LETTER]))
        batch = source.read(threading.Event(), PATIENCE)
    finally:
        source.close()
    assert batch is not None
    (letter,) = batch.rejected
    assert (letter.document_id, letter.reason, letter.document) == ("a", "no object", document)
