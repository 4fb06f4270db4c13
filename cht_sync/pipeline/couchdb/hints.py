"""What to correct: a setting where settings say it, else the plugin's option.

Settings say it where an environment's rendered configuration runs, and where a command of cht-sync asks
CouchDB by itself. A hint that names a setting helps nobody who runs a configuration of their own.
"""

from __future__ import annotations

import os

ENVIRONMENT = "CHT_SYNC_ENVIRONMENT"
"""Set in the process that runs what an environment has rendered; its value is the environment's name."""


def to_correct(setting: str, option: str, *, by_settings: bool = False) -> str:
    """Return the one of the two that the reader can change; `by_settings`: it is known to be the setting."""
    return setting if by_settings or os.environ.get(ENVIRONMENT) else f"{option} of couchdb_changes"
