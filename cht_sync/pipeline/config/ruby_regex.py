"""Ruby's regular expressions (Onigmo), as conditions use them, compiled by Python's.

What both write alike passes; what Ruby writes in its own way is translated (`^` and `$` match at each
line, `\\h`, `\\A`, `\\z`, `\\Z`, `(?<name>`, `(?m)`); what Python would read differently or not at all is
refused. `\\w`, `\\d` and `\\s` mean ASCII in both, `\\b` knows the letters of all languages.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(
    r"\\k<(?P<back>\w+)>|\\(?P<escape>.)|\(\?(?P<flags>[a-z]*(?:-[a-z]*)?)(?P<end>[:)])"
    r"|\(\?<(?P<group>[A-Za-z_]\w*)>|(?P<special>\(\?)(?!<?[=!]|>|\#)|(?P<char>.)",
    re.DOTALL,
)
_ESCAPES = {
    "h": "[0-9a-fA-F]",
    "H": "[^0-9a-fA-F]",
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "e": r"\x1b",
    "b": r"(?u:\b)",
    "B": r"(?u:\B)",
}
_LINE_START = r"(?:\A|(?<=\n)(?!\Z))"
"""Ruby's `^`, unlike Python's, does not match behind the last newline."""
_FLAGS = set("imx-")
_REFERENCE = re.compile(r"\\(?:(?P<number>[0-9])|k<(?P<name>\w+)>|(?P<sign>[&`'\\]))")


def compile_ruby(source: str) -> re.Pattern[str]:
    """Compile a pattern. Raises ValueError saying what cannot be understood."""
    try:
        return re.compile(_translated(source), re.MULTILINE | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regular expression /{source}/ cannot be used: {error}") from None


def ruby_replacement(text: str, pattern: re.Pattern[str]) -> Callable[[re.Match[str]], str]:
    r"""Return the function that gives what String#gsub puts in a match's place.

    `\1` to `\9` and `\k<name>` are groups, `\0` and `\&` the match, `` \` `` and `\'` what is before and
    after it, `\\` is a backslash; a group that took no part, or that there is not, is nothing. Raises
    ValueError for an unknown name.
    """
    if "\\" not in text:
        return lambda _found: text
    for reference in _REFERENCE.finditer(text):
        if reference["name"] and reference["name"] not in pattern.groupindex:
            raise ValueError(f"undefined group name reference: {reference['name']}")

    def expand(found: re.Match[str]) -> str:
        return _REFERENCE.sub(lambda reference: _referred(reference, found), text)

    return expand


def _referred(reference: re.Match[str], found: re.Match[str]) -> str:
    match reference["sign"]:
        case "&":
            return found[0]
        case "`":
            return found.string[: found.start()]
        case "'":
            return found.string[found.end() :]
        case "\\":
            return "\\"
    group: str | int = reference["name"] or int(reference["number"])
    return (found[group] or "") if isinstance(group, str) or group <= found.re.groups else ""


def _translated(source: str) -> str:
    translation = _Translation(source)
    for found in _TOKEN.finditer(source):
        translation.add(found)
    return translation.text()


class _Translation:
    def __init__(self, source: str) -> None:
        self._source = source
        self._out: list[str] = []
        # For each open group, and the whole, the groups of ours to close with it.
        self._to_close = [0]
        # Where the set began in which the translation is, if it is in one.
        self._set: int | None = None
        # Where groups have names, those without take no part in the counting.
        self._named = any(found["group"] for found in _TOKEN.finditer(source))

    def add(self, found: re.Match[str]) -> None:
        self._out.append(self._outside(found) if self._set is None else self._inside(found, self._set))

    def text(self) -> str:
        return "".join(self._out) + ")" * self._to_close.pop()

    def _inside(self, found: re.Match[str], start: int) -> str:
        text = found[0]
        if text == "[" or self._source.startswith("&&", found.start()):
            raise re.error("sets inside sets are not supported")
        if found["escape"] in ("H", "R", "X"):
            raise re.error(f"\\{found['escape']} inside a set is not supported")
        if text == "]" and self._source[start : found.start()] not in ("[", "[^"):
            self._set = None
        if text in "|~":
            # Python warns of two of these, which it may take for operators one day.
            return f"\\{text}"
        return "0-9a-fA-F" if found["escape"] == "h" else text

    def _outside(self, found: re.Match[str]) -> str:
        text = found[0]
        if found["back"]:
            return f"(?P={found['back']})"
        if found["escape"]:
            return _ESCAPES.get(found["escape"], text)
        if found["special"]:
            raise re.error("this kind of group is not supported", self._source, found.start())
        if found["group"] or found["end"]:
            return self._group(found)
        if text == "(":
            self._to_close.append(0)
            plain = self._named and not self._source.startswith("(?", found.start())
            return "(?:" if plain else text
        if text == ")" and len(self._to_close) > 1:
            return ")" * (1 + self._to_close.pop())
        if text == "[":
            self._set = found.start()
        return _LINE_START if text == "^" else text

    def _group(self, found: re.Match[str]) -> str:
        if found["group"]:
            self._to_close.append(0)
            return f"(?P<{found['group']}>"
        flags = found["flags"]
        if set(flags) - _FLAGS:
            raise re.error(f"the flags {flags} are not supported", self._source, found.start())
        if "i" in flags and not self._source.isascii():
            raise re.error("letters outside ASCII cannot be matched without regard to case")
        if found["end"] == ":":
            self._to_close.append(0)
        else:
            # `(?i)` holds to the end of the group that it is in, alternatives included.
            self._to_close[-1] += 1
        # Ruby's m lets the dot match a newline; Python calls that s.
        return f"(?{flags.replace('m', 's')}:"
