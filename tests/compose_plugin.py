"""Tests that need `docker compose`, and in CI are not excused from it."""

from __future__ import annotations

import os

import pytest

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers import compose


def needs_compose() -> None:
    """Skip the test where there is no plugin; in CI (CHT_SYNC_TEST_DOCKER=required) fail."""
    try:
        compose.version()
    except ChtSyncError as error:
        if os.environ.get("CHT_SYNC_TEST_DOCKER") == "required":
            raise
        pytest.skip(str(error))
