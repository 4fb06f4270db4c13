"""Names of months and days, in English here and in other languages from Babel (Unicode CLDR)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale, UnknownLocaleError

# fmt: off
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# fmt: on


@dataclass(frozen=True)
class Names:
    """What a text may say, and the number that it means: months and days from 1, AM 0, AD 1."""

    months: Mapping[str, int]
    days: Mapping[str, int]
    halves: Mapping[str, int]
    eras: Mapping[str, int]


@lru_cache(maxsize=32)
def names_of(language: str) -> Names:
    """Return the names of a language tag (`fr`, `en-US`, `pt_BR`). Raises ValueError for an unknown one."""
    tag = language.replace("_", "-")
    if tag in ("en", "en-US"):
        return _ENGLISH
    try:
        locale = Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        raise ValueError(f"the locale {language!r} is not known") from None
    periods = locale.day_periods["format"]
    return Names(
        months=_numbered(_both(locale.months["format"], range(1, 13))),
        days=_numbered(_both(locale.days["format"], range(7))),
        halves=_numbered(
            [(width[name], half) for width in periods.values() for half, name in _HALVES if name in width]
        ),
        eras=_numbered([(width[era], era) for width in locale.eras.values() for era in (0, 1)]),
    )


_HALVES = ((0, "am"), (1, "pm"))


def _both(widths: Mapping[str, Mapping[int, str]], keys: range) -> list[tuple[str, int]]:
    return [
        (widths[width][key], number)
        for width in ("wide", "abbreviated")
        for number, key in enumerate(keys, start=1)
    ]


def _numbered(names: Iterable[tuple[str, int]]) -> dict[str, int]:
    return {
        spelled: number for name, number in names for spelled in (name, name.lower(), name.upper()) if spelled
    }


def _english(names: tuple[str, ...]) -> dict[str, int]:
    return _numbered(
        [(text, number) for number, name in enumerate(names, start=1) for text in (name, name[:3])]
    )


_ENGLISH = Names(
    months=_english(MONTHS),
    days=_english(DAYS),
    halves=_numbered([("AM", 0), ("PM", 1)]),
    eras=_numbered([("BC", 0), ("BCE", 0), ("AD", 1), ("CE", 1)]),
)
