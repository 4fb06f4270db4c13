"""Where configurations come from: `-f` (a file, a folder, a glob), or the list in `pipelines.yml`.

Source: Logstash's documentation, "Command-Line Flags" and "Multiple Pipelines".
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cht_sync.errors import ConfigError
from cht_sync.pipeline.addresses import problems_of
from cht_sync.pipeline.config import load
from cht_sync.pipeline.config.problems import flat, raise_all
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.inputs.pipeline import PipelineInput
from cht_sync.pipeline.monitor.metrics import PipelineMetrics
from cht_sync.pipeline.outputs.pipeline import PipelineOutput
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.run import NamedPipeline

LIST_FILE = "pipelines.yml"
KNOWN_SETTINGS = frozenset(
    {"pipeline.id", "path.config", "config.string", "pipeline.workers", "pipeline.ordered"}
)
"""Of pipelines.yml; each pipeline here is ordered and has one worker, whatever is asked for."""


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline's id and its configuration: files in order, or a text."""

    id: str
    config: tuple[Path, ...] | str


def from_paths(patterns: Sequence[str], pipeline_id: str = "main") -> PipelineSource:
    """One pipeline of all files that the paths, folders or globs name, sorted; `~` files are left out."""
    files: list[Path] = []
    for pattern in patterns:
        found = _files(pattern)
        if not found:
            raise ConfigError("no configuration found", path=pattern)
        files += found
    return PipelineSource(pipeline_id, tuple(files))


def from_settings_folder(folder: Path) -> list[PipelineSource]:
    """The pipelines of `pipelines.yml`; relative paths in it start at the folder. Raises ConfigError."""
    path = folder / LIST_FILE
    try:
        entries = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is no YAML: {error}", path=str(path)) from error
    if not isinstance(entries, list) or not entries:
        raise ConfigError("must be a list of pipelines", path=str(path))
    sources = [_entry(entry, folder, path) for entry in entries]
    ids = [source.id for source in sources]
    for repeated in sorted({one for one in ids if ids.count(one) > 1}):
        raise ConfigError(f"pipeline.id {repeated!r} is there twice", path=str(path))
    return sources


def load_all(
    sources: Sequence[PipelineSource], env: Mapping[str, str], data_folder: Path
) -> list[NamedPipeline]:
    """Check and build all pipelines; raises one ConfigError that lists the problems of all of them."""
    built: list[NamedPipeline] = []
    problems: list[ConfigError] = []
    for source in sources:
        metrics = PipelineMetrics(source.id, hash=_hash(source.config))
        context = PluginContext(source.id, data_folder, metrics)
        config = source.config if isinstance(source.config, str) else list(source.config)
        try:
            pipeline = load(config, env, context)
        except ConfigError as error:
            problems.extend(flat(error))
            continue
        built.append(NamedPipeline(source.id, pipeline, DeadLetterFile(data_folder, source.id)))
    problems += _problems_between(built)
    raise_all(problems)
    return built


def _problems_between(pipelines: Sequence[NamedPipeline]) -> list[ConfigError]:
    return problems_of(
        {
            one.id: [source.address for source in one.pipeline.inputs if isinstance(source, PipelineInput)]
            for one in pipelines
        },
        {
            one.id: [
                address
                for output in one.pipeline.outputs
                if isinstance(output, PipelineOutput)
                for address in output.send_to
            ]
            for one in pipelines
        },
    )


def _entry(entry: Any, folder: Path, path: Path) -> PipelineSource:
    if not isinstance(entry, dict) or not isinstance(entry.get("pipeline.id"), str):
        raise ConfigError("every entry needs a pipeline.id", path=str(path))
    unknown = sorted(set(entry) - KNOWN_SETTINGS)
    if unknown:
        raise ConfigError(f"setting {unknown[0]!r} is not known here", path=str(path))
    if "config.string" in entry:
        return PipelineSource(entry["pipeline.id"], str(entry["config.string"]))
    if "path.config" not in entry:
        raise ConfigError(f"pipeline {entry['pipeline.id']} has no path.config", path=str(path))
    return from_paths([str(folder / str(entry["path.config"]))], entry["pipeline.id"])


def _hash(config: tuple[Path, ...] | str) -> str:
    """What changes with the configuration; a file that cannot be read is refused elsewhere."""
    if isinstance(config, str):
        return hashlib.sha256(config.encode()).hexdigest()
    digest = hashlib.sha256()
    for path in config:
        with contextlib.suppress(OSError):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        candidates = [child for child in path.iterdir() if child.is_file()]
    elif path.is_file():
        candidates = [path]
    else:
        parent = path.parent
        candidates = [match for match in parent.glob(path.name) if match.is_file()]
    return sorted(candidate for candidate in candidates if not candidate.name.endswith("~"))
