"""Where configurations come from: `-f` (a file, a folder, a glob), `-e`, or the list in `pipelines.yml`.

Source: Logstash's documentation, "Command-Line Flags" and "Multiple Pipelines", and its modules
logstash/config/source.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cht_sync.errors import ConfigError
from cht_sync.pipeline.addresses import problems_of
from cht_sync.pipeline.config import load
from cht_sync.pipeline.config.problems import Place, flat, problem, raise_all
from cht_sync.pipeline.dead_letter import MOST_BYTES, DeadLetterFile
from cht_sync.pipeline.dead_letters.file import file_of
from cht_sync.pipeline.dead_letters.folder import problems_with
from cht_sync.pipeline.dead_letters.line import Origin
from cht_sync.pipeline.engine_settings import EngineSettings, settings_of
from cht_sync.pipeline.inputs.couchdb_changes import CouchdbChanges
from cht_sync.pipeline.inputs.stdin import StandardInput
from cht_sync.pipeline.monitor.metrics import PipelineMetrics
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.yaml_settings import Given, read_list

LIST_FILE = "pipelines.yml"
_INPUT = re.compile(r"input\s*\{")
_OUTPUT = re.compile(r"output\s*\{")


@dataclass(frozen=True)
class PipelineSettings:
    """What settings say of one pipeline; None stands for what its plugins say."""

    workers: int = 1
    batch_size: int | None = None
    batch_delay: int | None = None
    """Milliseconds."""
    support_escapes: bool = False
    ecs_compatibility: str | None = None
    reloadable: bool = True
    dead_letter_folder: Path | None = None
    dead_letter_bytes: int = MOST_BYTES


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline's id and its configuration: files in order, or a text."""

    id: str
    config: tuple[Path, ...] | str
    settings: PipelineSettings = field(default_factory=PipelineSettings)
    absent: frozenset[str] = field(default=frozenset(), compare=False)
    """Settings that it has and that have no effect."""

    def fingerprint(self) -> str:
        """What changes with the configuration; a file that cannot be read is refused elsewhere."""
        digest = hashlib.sha256(repr(self.settings).encode())
        if isinstance(self.config, str):
            digest.update(self.config.encode())
            return digest.hexdigest()
        for path in self.config:
            digest.update(f"{path}\0".encode())
            with contextlib.suppress(OSError):
                digest.update(path.read_bytes())
        return digest.hexdigest()


def from_paths(
    patterns: Sequence[str], pipeline_id: str = "main", settings: PipelineSettings | None = None
) -> PipelineSource:
    """One pipeline of all files that the paths, folders or globs name, sorted; `~` files are left out."""
    files: list[Path] = []
    for pattern in patterns:
        found = _files(pattern)
        if not found:
            raise ConfigError("no configuration found", path=pattern)
        files += found
    return PipelineSource(pipeline_id, tuple(files), settings or PipelineSettings())


def from_text(
    text: str, pipeline_id: str = "main", settings: PipelineSettings | None = None
) -> PipelineSource:
    """One pipeline of a text; without an input it reads stdin, without an output it prints, as Logstash."""
    if not _INPUT.search(text):
        text += "\ninput { stdin { } }"
    if not _OUTPUT.search(text):
        text += "\noutput { stdout { codec => rubydebug } }"
    return PipelineSource(pipeline_id, text, settings or PipelineSettings())


def from_settings_folder(
    folder: Path, settings: EngineSettings | None = None, env: Mapping[str, str] | None = None
) -> list[PipelineSource]:
    """The pipelines of `pipelines.yml`; relative paths in it start at the folder.

    What an entry does not say comes from `settings`. Raises ConfigError for all entries that cannot be used.
    """
    path = folder / LIST_FILE
    sources: list[PipelineSource] = []
    first: dict[str, Place] = {}
    problems: list[ConfigError] = []
    for place, entry in read_list(path, env or {}):
        try:
            source = _entry(entry, place, folder, settings or EngineSettings())
        except ConfigError as error:
            problems.extend(flat(error))
            continue
        sources.append(source)
        before = first.setdefault(source.id, place)
        if before is not place:
            problems.append(
                problem(f'pipeline.id "{source.id}" is there twice (line {before.line} has it too)', place)
            )
    raise_all(problems)
    return sources


def pipeline_settings(settings: EngineSettings, place: Place) -> PipelineSettings:
    """Return what settings say of a pipeline. Raises ConfigError where they contradict one another."""
    workers: int = settings["pipeline.workers"]
    if settings["pipeline.ordered"] == "true" and workers > 1:
        raise problem(
            f"pipeline.ordered: true needs pipeline.workers: 1, and there are {workers}",
            place,
            hint="Events are in order here with any number of workers; leave pipeline.ordered out.",
        )
    return PipelineSettings(
        workers=workers,
        batch_size=settings["pipeline.batch.size"],
        batch_delay=settings["pipeline.batch.delay"],
        support_escapes=settings["config.support_escapes"],
        ecs_compatibility=settings["pipeline.ecs_compatibility"],
        reloadable=settings["pipeline.reloadable"],
        dead_letter_folder=settings["path.dead_letter_queue"],
        dead_letter_bytes=settings["dead_letter_queue.max_bytes"],
    )


@dataclass(frozen=True)
class Loader:
    """Makes pipelines of sources. `python_filter` says whether the filter `python` is allowed.

    `keeps_letters` says that they are to run: that dead letters can be kept is made sure then.
    `dead_letter_store` takes the place of the files for them.
    """

    env: Mapping[str, str]
    data_folder: Path
    python_filter: bool = False
    keeps_letters: bool = True
    dead_letter_store: Callable[[Origin], DeadLetterFile] | None = None

    def load(self, source: PipelineSource, metrics: PipelineMetrics | None = None) -> NamedPipeline:
        """Check and build one pipeline; connects to nothing. Raises ConfigError."""
        settings = source.settings
        metrics = metrics or PipelineMetrics(source.id, hash=source.fingerprint())
        metrics.batch_size = settings.batch_size or metrics.batch_size
        metrics.batch_delay = metrics.batch_delay if settings.batch_delay is None else settings.batch_delay
        metrics.dead_letter_path = file_of(
            settings.dead_letter_folder or self.data_folder / "dead_letter_queue", source.id
        )
        context = PluginContext(
            source.id,
            self.data_folder,
            metrics,
            python_filter=self.python_filter,
            dead_letter_folder=settings.dead_letter_folder,
            dead_letter_bytes=settings.dead_letter_bytes,
            dead_letter_store=self.dead_letter_store,
            batch_size=settings.batch_size,
            batch_delay=None if settings.batch_delay is None else settings.batch_delay / 1000,
            option_defaults=(
                {}
                if settings.ecs_compatibility is None
                else {"ecs_compatibility": settings.ecs_compatibility}
            ),
        )
        problems: list[ConfigError] = []
        if self.keeps_letters:
            problems += problems_with(self.data_folder, settings.dead_letter_folder, source.id)
        try:
            pipeline = load(
                source.config if isinstance(source.config, str) else list(source.config),
                self.env,
                context,
                support_escapes=settings.support_escapes,
            )
        except ConfigError as error:
            raise_all([*flat(error), *problems])
            raise
        if problems:
            pipeline.close()
        raise_all(problems)
        letters = DeadLetterFile(
            self.data_folder, source.id, settings.dead_letter_folder, settings.dead_letter_bytes
        )
        reads_stdin = any(isinstance(one, StandardInput) for one in pipeline.inputs)
        return NamedPipeline(
            source.id,
            pipeline,
            letters,
            batch_size=settings.batch_size,
            reloadable=settings.reloadable and not reads_stdin,
            restartable=not reads_stdin,
        )

    def load_all(self, sources: Sequence[PipelineSource]) -> list[NamedPipeline]:
        """Make all pipelines; raises one ConfigError that lists the problems of all of them."""
        built: list[NamedPipeline] = []
        problems: list[ConfigError] = []
        for source in sources:
            try:
                built.append(self.load(source))
            except ConfigError as error:
                problems.extend(flat(error))
        problems += problems_between(built)
        raise_all(problems)
        return built


def load_all(
    sources: Sequence[PipelineSource], env: Mapping[str, str], data_folder: Path
) -> list[NamedPipeline]:
    """Check and build all pipelines; raises one ConfigError that lists the problems of all of them."""
    return Loader(env, data_folder).load_all(sources)


def problems_between(pipelines: Sequence[NamedPipeline]) -> list[ConfigError]:
    """Say what cannot work among pipelines: those that send to one another, and positions that are shared."""
    return _shared_positions(pipelines) + problems_of(
        {one.id: one.listens_at for one in pipelines}, {one.id: one.sends_to for one in pipelines}
    )


def _shared_positions(pipelines: Sequence[NamedPipeline]) -> list[ConfigError]:
    readers: dict[Path, list[str]] = {}
    for one in pipelines:
        for source in one.pipeline.inputs:
            if isinstance(source, CouchdbChanges) and source.position_file is not None:
                readers.setdefault(source.position_file, []).append(f"{source.name} (pipeline {one.id})")
    return [
        ConfigError(
            f"{path} would keep the positions of {' and '.join(names)}, each over the other's",
            hint="Give each couchdb_changes a sequence_path of its own.",
        )
        for path, names in readers.items()
        if len(names) > 1
    ]


def _entry(
    entry: Mapping[str, Given], place: Place, folder: Path, settings: EngineSettings
) -> PipelineSource:
    if "pipeline.id" not in entry or not isinstance(entry["pipeline.id"].value, str):
        raise problem("every entry needs a pipeline.id, a text", place)
    own = settings_of(entry, listed=True)
    all_of_it = settings.under(own)
    id: str = own["pipeline.id"]
    if "path.dead_letter_queue" in own:
        own_letters = {"path.dead_letter_queue": folder / own["path.dead_letter_queue"]}
        all_of_it = all_of_it.under(EngineSettings(own_letters))
    pipeline = pipeline_settings(all_of_it, place)
    if "config.string" in own and "path.config" in own:
        raise problem(f"pipeline {id} has both path.config and config.string; leave one out", place)
    if "config.string" in own:
        source = PipelineSource(id, own["config.string"], pipeline)
    elif "path.config" in own:
        source = from_paths([str(folder / path) for path in own["path.config"]], id, pipeline)
    else:
        raise problem(f"pipeline {id} has no path.config", place)
    return replace(source, absent=own.absent)


def _files(pattern: str) -> list[Path]:
    path = Path(pattern)
    # As Logstash's `*`: what begins with a dot is an editor's, or a version control's.
    candidates = [one for one in path.iterdir() if one.name[0] != "."] if path.is_dir() else [path]
    if not path.exists():
        candidates = [Path(found) for found in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (absolute too)
    return sorted(one for one in candidates if one.is_file() and not one.name.endswith("~"))
