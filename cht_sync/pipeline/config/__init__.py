"""Logstash's configuration language: text, tree, checked tree, pipeline.

::

    configuration = parse(text, "pipeline.conf", env=os.environ)   # syntax, variables
    checked = check(configuration)                                 # plugins, options, conditions
    pipeline = build(checked, context)                             # the plugins themselves

`load` does all three for files or one text. Every step raises ConfigError with file, line and column;
where there are several problems it is a ConfigProblems, which lists them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.build import Pipeline, build
from cht_sync.pipeline.config.builder import Builder
from cht_sync.pipeline.config.check import Checked, check
from cht_sync.pipeline.config.parser import parse_tree
from cht_sync.pipeline.config.problems import ConfigProblems, flat, raise_all
from cht_sync.pipeline.config.tree import Configuration
from cht_sync.pipeline.plugins import PluginContext

__all__ = [
    "Checked",
    "ConfigProblems",
    "Configuration",
    "Pipeline",
    "build",
    "check",
    "load",
    "parse",
    "read",
]

CONFIG_STRING = "config string"
"""The name that a configuration without a file has in errors."""


def parse(
    text: str, path: str = CONFIG_STRING, *, env: Mapping[str, str], support_escapes: bool = False
) -> Configuration:
    """Return the tree of one text, its `${VARIABLES}` replaced from `env`.

    `support_escapes` is Logstash's setting config.support_escapes. Raises ConfigError.
    """
    tree = parse_tree(text, path)
    builder = Builder(text, path, env, support_escapes=support_escapes)
    configuration = builder.build(tree)
    raise_all(builder.problems)
    return configuration


def read(
    source: Sequence[Path] | str, env: Mapping[str, str], *, support_escapes: bool = False
) -> Configuration:
    """Return the joined tree of files, in the order given, or of one text. Raises ConfigError."""
    if isinstance(source, str):
        return parse(source, env=env, support_escapes=support_escapes)
    configuration = Configuration()
    problems: list[ConfigError] = []
    for path in source:
        try:
            configuration.add(parse(_text(path), str(path), env=env, support_escapes=support_escapes))
        except ConfigError as error:
            problems.extend(flat(error))
    raise_all(problems)
    return configuration


def load(
    source: Sequence[Path] | str,
    env: Mapping[str, str],
    context: PluginContext,
    *,
    support_escapes: bool = False,
) -> Pipeline:
    """Return the pipeline that files, or one text, describe. Raises ConfigError."""
    configuration = read(source, env, support_escapes=support_escapes)
    return build(check(configuration, context.option_defaults), context)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", path=str(path)) from None
