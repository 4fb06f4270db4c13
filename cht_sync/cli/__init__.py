"""The command line: each command reads its settings, calls one function, and prints.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 verify found differences, 130 interrupted.
`pipeline` keeps Logstash's: 0 and 1. `group.py` has the group and how errors are shown; every other
module has a few commands that belong together and adds them to the group when it is imported.
"""

from cht_sync.cli import (
    containers,
    dead_letters,
    docker,
    engine,
    environment,
    forms,
    pipeline,
    services,
    superset,
    transform,
    verify,
    warehouse,
)
from cht_sync.cli.group import main

__all__ = [
    "containers",
    "dead_letters",
    "docker",
    "engine",
    "environment",
    "forms",
    "main",
    "pipeline",
    "services",
    "superset",
    "transform",
    "verify",
    "warehouse",
]
