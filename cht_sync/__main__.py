"""`python -m cht_sync` is `cht-sync`."""

from __future__ import annotations

import os
import sys

OPTION = "--project-dir"


def run() -> None:
    """Start the command line. Where the checkout is must be known before its modules are imported."""
    for place, word in enumerate(sys.argv[1:], start=1):
        if not word.startswith("-"):
            break
        name, equals, value = word.partition("=")
        if name == OPTION and (equals or len(sys.argv) > place + 1):
            os.environ["CHT_SYNC_PROJECT_DIR"] = value if equals else sys.argv[place + 1]
            break
    from cht_sync.cli.group import main  # noqa: PLC0415 (see above)

    main()


if __name__ == "__main__":
    run()
