"""What flags, logstash.yml and pipelines.yml say together: which pipelines, with which settings, where.

Source: Logstash's documentation, "Running Logstash from the Command Line" and "logstash.yml", and its module
logstash/runner.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cht_sync.errors import ChtSyncError, ConfigError
from cht_sync.pipeline.config.problems import Place, flat, raise_all
from cht_sync.pipeline.engine_settings import COMMAND_LINE, EngineSettings, flag, settings_of
from cht_sync.pipeline.sources import (
    LIST_FILE,
    Loader,
    PipelineSource,
    from_paths,
    from_settings_folder,
    from_text,
    pipeline_settings,
)
from cht_sync.pipeline.yaml_settings import read_map

log = logging.getLogger(__name__)

SETTINGS_FILE = "logstash.yml"
CONFIG = ("config.string", "path.config")


@dataclass(frozen=True)
class Startup:
    """What was asked for."""

    settings: EngineSettings
    folder: Path | None
    """That of logstash.yml and pipelines.yml."""
    loader: Loader

    @property
    def data_folder(self) -> Path:
        """path.data."""
        return self.loader.data_folder

    @property
    def is_single(self) -> bool:
        """Whether one pipeline is given as files or text, and not a list of several."""
        return any(name in self.settings for name in CONFIG)

    def letter_folders(self) -> list[Path]:
        """Where the pipelines that are wanted keep their dead letters. Raises ConfigError."""
        usual = self.data_folder / "dead_letter_queue"
        common: Path = self.settings["path.dead_letter_queue"] or usual
        if self.folder is None or self.is_single:
            return [common]
        return list(
            dict.fromkeys([common, *(one.settings.dead_letter_folder or usual for one in self.find())])
        )

    def find(self) -> list[PipelineSource]:
        """The pipelines that are wanted now; may be asked again. Raises ConfigError."""
        settings = self.settings
        place = Place(COMMAND_LINE, 0, 0)
        if "config.string" in settings:
            own = pipeline_settings(settings, place)
            return [from_text(settings["config.string"], settings["pipeline.id"], own)]
        if "path.config" in settings:
            own = pipeline_settings(settings, place)
            return [from_paths(settings["path.config"], settings["pipeline.id"], own)]
        if self.folder is None:
            raise ChtSyncError(
                "give one of -f, -e and --path.settings", hint="See: cht-sync pipeline run --help"
            )
        return from_settings_folder(self.folder, settings, self.loader.env)

    def warn(self, sources: Sequence[PipelineSource]) -> None:
        """Say which settings have no effect."""
        absent = self.settings.absent.union(*(source.absent for source in sources))
        if absent:
            log.warning("settings of Logstash that have no effect here: %s", ", ".join(sorted(absent)))
        several = {source.id: source.settings.workers for source in sources if source.settings.workers > 1}
        if several:
            log.warning(
                "pipeline.workers has no effect here (%s): what each input reads goes through the filters in "
                "one thread, in order",
                ", ".join(f"{id}: {workers}" for id, workers in sorted(several.items())),
            )
        if self.is_single and self.folder is not None:
            path = self.folder / LIST_FILE
            if path.exists():
                log.warning("%s is ignored, because path.config or config.string is given", path)


def prepare(
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    folder: Path | None = None,
    *,
    python_filter: bool = False,
) -> Startup:
    """Join flags (by the names of their settings; None where one is not given) and the settings of a folder.

    Raises ConfigError for settings that are unknown or wrong, all at once, and ChtSyncError where they do not
    fit together.
    """
    problems: list[ConfigError] = []
    given = own = EngineSettings()
    try:
        given = settings_of({name: flag(value) for name, value in flags.items() if value is not None})
    except ConfigError as error:
        problems.extend(flat(error))
    try:
        own = _settings_file(folder, env)
    except ConfigError as error:
        problems.extend(flat(error))
    raise_all(problems)
    if any(name in given for name in CONFIG):
        own = replace(own, values={name: value for name, value in own.values.items() if name not in CONFIG})
    settings = own.under(given)
    _check(settings)
    data = settings["path.data"] or (folder or Path()) / "data"
    return Startup(settings, folder, Loader(env, data, python_filter=python_filter))


def _settings_file(folder: Path | None, env: Mapping[str, str]) -> EngineSettings:
    """The settings of logstash.yml; relative paths in it start at the folder."""
    if folder is None:
        return EngineSettings()
    if not folder.is_dir():
        raise ConfigError("is no folder", path=str(folder), hint="Name the one of pipelines.yml.")
    path = folder / SETTINGS_FILE
    if not path.exists():
        return EngineSettings()
    own = settings_of(read_map(path, env))
    values = dict(own.values)
    for name in ("path.data", "path.dead_letter_queue"):
        if name in values:
            values[name] = folder / values[name]
    if "path.config" in values:
        values["path.config"] = tuple(str(folder / one) for one in values["path.config"])
    return replace(own, values=values)


def _check(settings: EngineSettings) -> None:
    given = [name for name in CONFIG if name in settings]
    if len(given) > 1:
        raise ChtSyncError("a configuration comes from -f or from -e, not from both")
    if settings["config.reload.automatic"] and "config.string" in settings:
        raise ChtSyncError(
            "config.reload.automatic needs files, and the configuration is given as text",
            hint="Put it into a file and name that with -f, or leave -r out.",
        )
