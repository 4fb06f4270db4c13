"""What every document is derived from: a seed and a base date, never a clock.

Each document has an index (0, 1, 2, ...) and depends on nothing but the origin and this index. So a
document can be made again at any time without keeping those before it, and the first documents of a
large run are the documents of a small one.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

Document = dict[str, Any]
"""A CouchDB document, as JSON objects are in Python."""

DEFAULT_BASE_DATE = date(2024, 1, 1)
MILLISECONDS_PER_DAY = 86_400_000


@dataclass(frozen=True)
class Origin:
    """The seed, the first day of the story (UTC), and whether contact types are configured ones."""

    seed: int
    base_date: date = DEFAULT_BASE_DATE
    configured_types: bool = False

    def document_id(self, index: int) -> str:
        """Return the id of a document: a version 4 UUID in lower case, as the CHT makes them."""
        digest = hashlib.blake2b(f"{self.seed}/{index}".encode(), digest_size=16).digest()
        return str(uuid.UUID(bytes=digest, version=4))

    def random(self, purpose: str, number: int) -> random.Random:
        """Return a random source that depends on the seed, a purpose and a number only."""
        return random.Random(f"{self.seed}/{purpose}/{number}")  # noqa: S311 (test data, no secret)

    def day(self, days: int) -> date:
        """Return the date that lies `days` after the base date."""
        return self.base_date + timedelta(days=days)

    def moment(self, days: float) -> int:
        """Return milliseconds since 1970 (UTC), `days` after the beginning of the base date."""
        start = datetime.combine(self.base_date, datetime.min.time(), UTC)
        return int(start.timestamp()) * 1000 + int(days * MILLISECONDS_PER_DAY)
