"""`${NAME}` and `${NAME:default}` in settings and conditions.

Logstash replaces in two steps, and both show. The first replaces a string that is one reference as a
whole, in settings and in conditions. The second, in settings only, replaces every reference inside a
string, and where it has replaced one takes quotes away and splits a text in brackets into an array.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_.][A-Za-z0-9_.]*)(?::(?P<default>[^}]*))?\}", re.ASCII)


class UndefinedVariable(ValueError):
    """A variable that is neither set nor has a default."""

    def __init__(self, reference: str, name: str) -> None:
        super().__init__(
            f"Cannot evaluate `{reference}`. Replacement variable `{name}` is not defined in the environment "
            f"and there is no default value given; set it, or write `${{{name}:default}}`"
        )


def replace_in_condition(text: str, env: Mapping[str, str]) -> str:
    """Replace a text that is one reference. Raises UndefinedVariable."""
    whole = _REFERENCE.fullmatch(text)
    return _value(whole, env) if whole else text


def replace_in_setting(text: str, env: Mapping[str, str]) -> str | list[str]:
    """Replace all references of a text. Raises UndefinedVariable."""
    text = replace_in_condition(text, env)
    replaced, count = _REFERENCE.subn(lambda found: _value(found, env), text)
    if not count:
        return text
    replaced = _without_quotes(replaced)
    if replaced.startswith("[") and replaced.endswith("]"):
        return [_without_quotes(item.strip()) for item in replaced[1:-1].split(",")]
    return replaced


def _value(found: re.Match[str], env: Mapping[str, str]) -> str:
    value = env.get(found["name"], found["default"])
    if value is None:
        raise UndefinedVariable(found[0], found["name"])
    return value


def _without_quotes(text: str) -> str:
    for quote in "'\"":
        if len(text) > 1 and text[0] == text[-1] == quote:
            text = text[1:-1]
    return text
