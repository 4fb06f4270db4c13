"""How many faults are tried, and which: everything, or a sample that a seed chooses."""

from __future__ import annotations

import os

SEED = int(os.environ.get("FAULT_SEED", "20261"))
ALL = os.environ.get("FAULTS") == "all"
"""`make test-all` tries every fault everywhere."""
