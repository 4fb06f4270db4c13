"""A chain for the tests of a file, and which of many faults are tried."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from faults.chain import Chain
from faults.extent import SEED


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Chance of this test alone, the same at every run with the seed that is printed."""
    print(f"FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The whole chain, running."""
    one = Chain(tmp_path_factory.mktemp("chain"))
    try:
        one.start()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def documents_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The chain without models, running."""
    one = Chain(tmp_path_factory.mktemp("chain"))
    try:
        one.start(models=False)
        yield one
    finally:
        one.close()
