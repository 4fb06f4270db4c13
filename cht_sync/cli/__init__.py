"""The command line: each command reads its settings, calls one function, and prints.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 verify found differences, 130 interrupted.
`pipeline` keeps Logstash's: 0 and 1. `group.py` has the group, where each command is, and how errors are
shown; every other module has a few commands that belong together and adds them to the group when it is
imported, which happens when one of them is called.
"""

from cht_sync.cli.group import main

__all__ = ["main"]
