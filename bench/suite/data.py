"""Documents for the measurements: real ones given again under new ids, as rows of a changes feed."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from cht_sync.generator.origin import Origin
from cht_sync.generator.plan import document

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "cht_docs.ndjson.gz"
GENERATED = 10_000
"""Documents of the generator where there are no recorded ones."""
SEQUENCE = "g1AAAACneJzLYWBgYMpgTmEQSc4vTc5ISSpKTXYwNDLXMwBCwxyQbCJDUv3___-zMpgTGXOBAuxmxsbGKebm"
"""What follows the number in a sequence of CouchDB's, about as long as those are."""
ROW_END = b",\n"


@dataclass(frozen=True)
class Document:
    """`text` is the JSON of the whole document."""

    id: str
    revision: str
    text: str


@dataclass(frozen=True)
class FeedFile:
    """Rows of a feed in a file, each with its comma; row `n` is at `offsets[n]` to `offsets[n + 1]`."""

    path: Path
    offsets: list[int]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.offsets) - 1

    @property
    def bytes_a_row(self) -> float:
        """The mean."""
        return self.offsets[-1] / self.rows


def documents(count: int, source: Path = SHARED) -> Iterator[Document]:
    """Yield so many documents: those of `source` (one a line), else of the generator, again and again.

    Every one has an id of its own; ids come in no order, as those of the CHT do.
    """
    rests = [text[1:] for text in _texts(source)]
    for number, rest in enumerate(islice(cycle(rests), count)):
        digest = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        id = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
        revision = f"1-{digest}"
        yield Document(id, revision, f'{{"_id":"{id}","_rev":"{revision}",{rest}')


def write_feed(folder: Path, count: int, source: Path = SHARED) -> FeedFile:
    """Write so many rows into a file."""
    offsets = [0]
    path = folder / f"feed-{count}"
    with path.open("wb") as file:
        for number, one in enumerate(documents(count, source), 1):
            row = (
                f'{{"seq":"{number}-{SEQUENCE}","id":"{one.id}","changes":[{{"rev":"{one.revision}"}}],'
                f'"doc":{one.text}}}'
            )
            offsets.append(offsets[-1] + file.write(row.encode() + ROW_END))
    return FeedFile(path, offsets)


def _texts(source: Path) -> list[str]:
    """Documents without `_id` and `_rev`, as JSON."""
    if source.exists():
        with gzip.open(source, "rt") as lines:
            found = [json.loads(line) for line in lines]
    else:
        found = [document(Origin(seed=1), index) for index in range(GENERATED)]
    for one in found:
        one.pop("_id", None)
        one.pop("_rev", None)
    return [json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in found]
