"""All that is wrong with a configuration, said at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cht_sync.errors import ConfigError, sentences


class Place(NamedTuple):
    """Where something stands; line and column count from 1."""

    path: str
    line: int
    column: int


class ConfigProblems(ConfigError):
    """Several problems of one configuration: one line each, its hint behind it, and one by one in `problems`.

    The place is that of the first.
    """

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        # What is to be done about all of them is said once.
        common = first.hint if len({problem.hint for problem in problems}) == 1 else None
        super().__init__(first.reason, path=first.path, line=first.line, column=first.column, hint=common)
        self.message = "\n".join(map(str if common else sentences, problems))
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


def in_order(problems: Iterable[ConfigError], files: Sequence[str] = ()) -> list[ConfigError]:
    """Return problems as one reads: by file, those of `files` first and in that order, by line, by column."""
    order = {path: number for number, path in enumerate(files)}
    return sorted(problems, key=lambda one: (order.get(one.path, len(order)), one.path, one.line, one.column))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "..."?` where a known name is near, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def nearest_or_all(name: str, known: Iterable[str], else_: str) -> str:
    """Return `nearest`; where no known name is near, `else_` and all of them."""
    known = sorted(known)
    return nearest(name, known) or f"; {else_} {', '.join(known)}"
