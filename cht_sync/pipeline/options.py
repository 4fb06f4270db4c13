"""Options of plugins: declared once each, checked and converted before anything is built.

A plugin's options are a frozen dataclass whose fields are declared by `option`; the class is all that
the configuration check, the plugin itself and the generated documentation need to know. Where options
only fit together in some ways, its `__post_init__` raises ValueError for the others, or Contradictions where
there are several reasons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.conversions import CONVERSIONS, Kind, WrongValue, as_list, described, refuse_blocks


def whole(least: int, most: int | None = None) -> Callable[[Any], None]:
    """Return the check of a whole number, or of each one of several, within bounds."""
    wanted = f"a whole number from {least} {'on' if most is None else f'to {most}'}"

    def check(value: Any) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            if number != int(number) or number < least or (most is not None and number > most):
                raise ValueError(f"expected {wanted}, got {number}")

    return check


class Contradictions(ValueError):
    """Several reasons for which options do not fit together, each a text of its own in `reasons`."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class Undecided(Exception):
    """What is asked depends on an option that is wrong by itself."""


class _WrongOption:
    """Takes the place of the value of an option that is wrong: whoever looks at it is told Undecided."""

    def _undecided(self, *_arguments: object) -> Any:
        raise Undecided

    __bool__ = __contains__ = __float__ = __format__ = __getattr__ = __getitem__ = __hash__ = _undecided
    __eq__ = __ge__ = __gt__ = __int__ = __iter__ = __le__ = __len__ = __lt__ = __ne__ = __str__ = _undecided


WRONG_OPTION: Any = _WrongOption()


@dataclass(frozen=True)
class Option:
    """What is known of one option.

    `many` means a list of values of the kind (one alone is a list of one). `choices` are the only
    values allowed. `check` raises ValueError for a converted value that cannot be used.
    """

    name: str
    kind: Kind
    required: bool = False
    many: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    check: Callable[[Any], object] | None = None
    help: str = ""

    def convert(self, value: Any) -> Any:
        """Return `value` (text, number, list or dict of the configuration) as the option's type.

        Raises WrongValue.
        """
        try:
            refuse_blocks(value)
            if self.many:
                converted: Any = tuple(self._one(item) for item in as_list(value))
            else:
                converted = self._one(value)
            if self.check is not None:
                self.check(converted)
        except ValueError as error:
            raise WrongValue(str(error)) from None
        return converted

    def _one(self, value: Any) -> Any:
        converted = CONVERSIONS[self.kind](value)
        if self.choices and converted not in self.choices:
            raise WrongValue(f"expected one of {', '.join(self.choices)}, got {described(converted)}")
        return converted


def option(
    kind: Kind,
    *,
    required: bool = False,
    many: bool = False,
    default: Any = None,
    choices: Sequence[str] = (),
    check: Callable[[Any], object] | None = None,
    help: str = "",
) -> Any:
    """Declare one field of an Options dataclass; see `Option` for the meaning of the arguments.

    The default is the converted value, except for a codec, where it is the codec's name.
    """
    metadata = {
        "option": Option(
            name="",
            kind=kind,
            required=required,
            many=many,
            default=default,
            choices=tuple(choices),
            check=check,
            help=help,
        )
    }
    if isinstance(default, dict | list):
        raise TypeError("the default of an option must be immutable")
    return dataclasses.field(default=default, metadata=metadata)


def options_of(options_class: type[Any]) -> dict[str, Option]:
    """Return the declared options of an Options dataclass by name, inherited ones first."""
    return {
        field.name: dataclasses.replace(field.metadata["option"], name=field.name)
        for field in dataclasses.fields(options_class)
    }
