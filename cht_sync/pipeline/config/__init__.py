"""Logstash's configuration language: text, tree, checked tree, pipeline.

::

    configuration = parse(text, "pipeline.conf", env=os.environ)   # syntax, variables
    checked = check(configuration)                                 # plugins, options, conditions
    pipeline = build(checked, context)                             # the plugins themselves

`load` does all three for files or one text, and lists the problems of all three together. Every step raises
ConfigError with file, line and column; where there are several problems it is a ConfigProblems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.build import Pipeline, build, build_into
from cht_sync.pipeline.config.builder import Builder
from cht_sync.pipeline.config.check import Checked, check, check_into
from cht_sync.pipeline.config.parser import parse_tree
from cht_sync.pipeline.config.problems import ConfigProblems, in_order, raise_all
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
]

CONFIG_STRING = "config string"
"""The name that a configuration without a file has in errors."""


def parse(
    text: str, path: str = CONFIG_STRING, *, env: Mapping[str, str], support_escapes: bool = False
) -> Configuration:
    """Return the tree of one text, its `${VARIABLES}` replaced from `env`.

    `support_escapes` is Logstash's setting config.support_escapes. Raises ConfigError.
    """
    problems: list[ConfigError] = []
    configuration = _parse_into(problems, text, path, env, support_escapes)
    raise_all(in_order(problems))
    return configuration


def load(
    source: Sequence[Path] | str,
    env: Mapping[str, str],
    context: PluginContext,
    *,
    support_escapes: bool = False,
) -> Pipeline:
    """Return the pipeline that files, in the order given, or one text, describe.

    Raises one ConfigError for all that is wrong in any of them; of a file that breaks the language only
    that is said.
    """
    problems: list[ConfigError] = []
    configuration = Configuration()
    if isinstance(source, str):
        configuration = _parse_into(problems, source, CONFIG_STRING, env, support_escapes)
    else:
        for path in source:
            try:
                text = _text(path)
            except ConfigError as error:
                problems.append(error)
                continue
            configuration.add(_parse_into(problems, text, str(path), env, support_escapes))
    checked = check_into(problems, configuration, context.option_defaults)
    pipeline = build_into(problems, checked, context)
    if problems:
        pipeline.close()
    raise_all(in_order(problems, [] if isinstance(source, str) else [str(path) for path in source]))
    return pipeline


def _parse_into(
    problems: list[ConfigError], text: str, path: str, env: Mapping[str, str], support_escapes: bool
) -> Configuration:
    try:
        tree = parse_tree(text, path)
    except ConfigError as error:
        problems.append(error)
        return Configuration()
    builder = Builder(text, path, env, support_escapes=support_escapes)
    configuration = builder.build(tree)
    problems.extend(builder.problems)
    return configuration


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", path=str(path)) from None
