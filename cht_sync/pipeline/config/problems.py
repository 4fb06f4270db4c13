"""All that is wrong with a configuration, said at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cht_sync.errors import ConfigError


class Place(NamedTuple):
    """Where something stands; line and column count from 1."""

    path: str
    line: int
    column: int


class ConfigProblems(ConfigError):
    """Several problems of one configuration: one line each, and one by one in `problems`.

    The place is that of the first.
    """

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        hints = dict.fromkeys(problem.hint for problem in problems if problem.hint)
        super().__init__(
            first.reason,
            path=first.path,
            line=first.line,
            column=first.column,
            hint=" ".join(hints) or None,
        )
        self.message = "\n".join(map(str, problems))
        self.args = (self.message,)
        self.problems = tuple(problems)


def problem(message: str, place: Place, *, hint: str | None = None) -> ConfigError:
    """Make the error for one problem."""
    return ConfigError(message, path=place.path, line=place.line, column=place.column, hint=hint)


def flat(error: ConfigError) -> tuple[ConfigError, ...]:
    """Return the single problems of an error."""
    return error.problems if isinstance(error, ConfigProblems) else (error,)


def raise_all(problems: Sequence[ConfigError]) -> None:
    """Raise what there is: nothing, the one problem, or ConfigProblems."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigProblems(problems)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "..."?` where a known name is near, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
