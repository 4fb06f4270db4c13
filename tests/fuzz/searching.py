"""How long a search is: short and always the same in an ordinary run, longer and elsewhere on demand.

`FUZZ_EXAMPLES=20000 pytest -s tests/fuzz` tries so many inputs in each test; it prints a seed, and
`FUZZ_SEED=...` searches there again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, seed, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SEED = int(os.environ.get("FUZZ_SEED", secrets.randbelow(2**32)))
ALWAYS_THE_SAME = 20_261_129
TIMEOUT = 0 if EXAMPLES else 120
"""Seconds for one test; a hang is a fault."""

Test = TypeVar("Test", bound=Callable[..., None])


def searches(few: int) -> Callable[[Test], Test]:
    """Try a test with `few` inputs, or with FUZZ_EXAMPLES of them."""

    def decorate(test: Test) -> Test:
        if EXAMPLES:
            print(f"FUZZ_SEED={SEED}")
        seeded = seed(SEED if EXAMPLES else ALWAYS_THE_SAME)(test)
        return settings(
            max_examples=EXAMPLES or few,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )(seeded)

    return decorate
