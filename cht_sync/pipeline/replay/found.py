"""Which files the patterns of a configuration name, as Ruby's Dir.glob finds them."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_BRACES = re.compile(r"\{([^{}]*)\}")


def found_files(patterns: Iterable[str], exclude: Sequence[str]) -> list[Path]:
    """Return the plain files, each once; `exclude` are patterns of their names without folder."""
    names = {
        name
        for pattern in patterns
        for one in _without_braces(pattern)
        for name in glob.iglob(one, recursive=True)  # noqa: PTH207 (a Path takes no absolute pattern)
    }
    return [
        path
        for path in map(Path, sorted(names))
        if path.is_file()
        and not any(
            fnmatch.fnmatchcase(path.name, one) for pattern in exclude for one in _without_braces(pattern)
        )
    ]


def _without_braces(pattern: str) -> Iterator[str]:
    """`a{b,c}` is `ab` and `ac`; the innermost braces first."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    for choice in found[1].split(","):
        yield from _without_braces(pattern[: found.start()] + choice + pattern[found.end() :])
