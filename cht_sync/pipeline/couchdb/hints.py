"""What to correct: a setting where an environment's rendered configuration runs, else the plugin's option.

A hint that names a setting helps nobody who runs a configuration of their own.
"""

from __future__ import annotations

import os

ENVIRONMENT = "CHT_SYNC_ENVIRONMENT"
"""Set in the process that runs what an environment has rendered; its value is the environment's name."""


def to_correct(setting: str, option: str) -> str:
    """Return the one of the two that the reader can change."""
    return setting if os.environ.get(ENVIRONMENT) else f"{option} of couchdb_changes"
