"""Ruby's regular expressions (Onigmo), as conditions use them, compiled by Python's.

What both write alike passes; what Ruby writes in its own way is translated (`^` and `$` match at each
line, `\\h`, `\\A`, `\\z`, `\\Z`, `(?<name>`, `(?m)`); what Python would read differently or not at all is
refused. `\\w`, `\\d` and `\\s` mean ASCII in both.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"\\k<(?P<back>\w+)>|\\(?P<escape>.)|\(\?(?P<flags>[a-z]*(?:-[a-z]*)?)(?P<end>[:)])"
    r"|\(\?<(?P<group>[A-Za-z_]\w*)>|(?P<special>\(\?)(?!<?[=!]|>|\#)|(?P<char>.)",
    re.DOTALL,
)
_ESCAPES = {"h": "[0-9a-fA-F]", "H": "[^0-9a-fA-F]", "z": r"\Z", "Z": r"(?=\n?\Z)", "e": r"\x1b"}
_FLAGS = set("imx-")


def compile_ruby(source: str) -> re.Pattern[str]:
    """Compile a pattern. Raises ValueError saying what cannot be understood."""
    try:
        return re.compile(_translated(source), re.MULTILINE | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regular expression /{source}/ cannot be used: {error}") from None


def _translated(source: str) -> str:
    out: list[str] = []
    in_class = False
    for found in _TOKEN.finditer(source):
        text = found[0]
        if in_class:
            if text == "[" or source.startswith("&&", found.start()):
                raise re.error("sets inside sets are not supported")
            if found["escape"] == "h":
                text = "0-9a-fA-F"
            elif found["escape"] in ("H", "R", "X"):
                raise re.error(f"\\{found['escape']} inside a set is not supported")
            in_class = text != "]" or out[-1] in ("[", "[^")
        elif found["back"]:
            text = f"(?P={found['back']})"
        elif found["escape"]:
            text = _ESCAPES.get(found["escape"], text)
        elif found["flags"] is not None and found["end"]:
            text = _flags(found, source)
        elif found["group"]:
            text = f"(?P<{found['group']}>"
        elif found["special"]:
            raise re.error("this kind of group is not supported", source, found.start())
        elif text == "[":
            in_class = True
        out.append(text)
    return "".join(out)


def _flags(found: re.Match[str], source: str) -> str:
    flags = found["flags"]
    if set(flags) - _FLAGS:
        raise re.error(f"the flags {flags} are not supported", source, found.start())
    if "i" in flags and not source.isascii():
        raise re.error("letters outside ASCII cannot be matched without regard to case")
    # Ruby's m lets the dot match a newline; Python calls that s.
    return f"(?{flags.replace('m', 's')}{found['end']}"
