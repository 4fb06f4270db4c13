"""A document of 64 MB: stored, or a dead letter, and the engine's memory stays a small multiple of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from peak_memory import peak_memory
from warehouse.served import Served

from poison.engine import await_position, engine_process
from poison.kinds import LEVELS, document, nested
from poison.recorded_feed import Change, RecordedFeed, ordinary

ON_ONE_SERVER = True
MEGABYTE = 1 << 20
LARGE = 64 * MEGABYTE
TEXT = b'"t":"%s"' % (b"0123456789abcdef" * (LARGE // 16))
MULTIPLE = 10
"""Of the document: received, row, request; with replacements or as a dead letter each in a few copies."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("members", "rows", "notes", "letters"),
    [(TEXT, 1, 0, 0), (b'"n":1e140000,' + TEXT, 1, 1, 0), (b'"d":' + nested(LEVELS) + b"," + TEXT, 0, 0, 1)],
    ids=["stored", "stored with a replacement", "refused"],
)
def test_a_document_of_64_megabytes_needs_a_small_multiple_of_it(
    warehouse: Served, feed: RecordedFeed, folder: Path, members: bytes, rows: int, notes: int, letters: int
) -> None:
    feed.put(*ordinary(5))
    with engine_process(warehouse, folder, port=feed.port) as process:
        await_position(warehouse, feed.last_sequence, process)
        before = peak_memory(process.pid)
        feed.put(Change(b'"large"', b'"1-a"', document("large", members)), *ordinary(5, "after"))
        await_position(warehouse, feed.last_sequence, process)
        assert peak_memory(process.pid) - before < MULTIPLE * LARGE
    value = warehouse.installation.value
    assert value("select count(*) from v1.medic") == 10 + rows
    assert value("select count(*) from v1.replaced_values where length(original) > %s", LARGE) == notes
    assert value("select count(*) from v1.dead_letters where length(document) > %s", LARGE) == letters
