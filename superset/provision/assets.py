"""Dashboards and what they are made of, as files; a person's changes in Superset win over them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import metadata
import yaml
from sqlalchemy.exc import OperationalError
from superset.commands.chart.export import ExportChartsCommand
from superset.commands.chart.importers.v1.utils import import_chart
from superset.commands.dashboard.export import ExportDashboardsCommand
from superset.commands.dashboard.importers.v1.utils import find_chart_uuids, import_dashboard, update_id_refs
from superset.commands.database.importers.v1.utils import import_database
from superset.commands.dataset.export import ExportDatasetsCommand
from superset.commands.dataset.importers.v1.utils import import_dataset
from superset.commands.utils import update_chart_config_dataset
from superset.connectors.sqla.models import SqlaTable
from superset.extensions import db
from superset.models.core import Database
from superset.models.dashboard import Dashboard
from superset.models.slice import Slice
from warehouse import missing

KINDS: dict[str, Any] = {"datasets": SqlaTable, "charts": Slice, "dashboards": Dashboard}
"""In the order in which they need each other."""
EXPORTS: dict[str, Any] = {
    "datasets": ExportDatasetsCommand,
    "charts": ExportChartsCommand,
    "dashboards": ExportDashboardsCommand,
}
VOLATILE = frozenset({"fetch_values_predicate", "last_saved_at", "certified_by", "theme_uuid"})

COLOURS = frozenset({"color_scheme_domain", "map_label_colors", "shared_label_colors"})
"""Superset keeps these of a dashboard by itself when its owner opens it: nobody changed anything then."""


LEFT_OUT = "left out for now:"
"""The service looks for this text, to provision again at its next start."""

UNUSABLE = "cannot be brought in:"
"""What a line says of a file that Superset does not take; the service looks for it, too."""


class AssetError(Exception):
    """A file of `assets` that cannot be used, and why."""


@dataclass(frozen=True)
class Asset:
    """A file: its kind, where it is, what Superset knows it by; `reads` are the UUIDs of what it needs."""

    kind: str
    path: Path
    uuid: str
    config: dict[str, Any]
    text: str
    reads: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.stem}"


def read(folder: Path, kind: str, said: list[str] | None = None) -> Iterator[Asset]:
    """Read all files of a kind, by name, but those that are no assets at all; `said` gets a line for each."""
    for path in sorted((folder / kind).glob("*.yaml")):
        try:
            yield _parsed(kind, path)
        except AssetError as error:
            if said is not None:
                said.append(f"{kind}/{path.stem}: {UNUSABLE} {error}")


def _parsed(kind: str, path: Path) -> Asset:
    try:
        text = path.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        uuid = str(UUID(config["uuid"]))
        if kind == "datasets":
            config = {"sql": None, "table_name": config["table_name"], **config}
        if kind == "dashboards":
            # Superset writes neither for a dashboard that nobody has edited since the API made it.
            config = {"metadata": {}, "position": {}, **config}
        return Asset(kind, path, uuid, config, text, reads=_reads(kind, config))
    except KeyError as error:
        raise AssetError(f"it has no {error.args[0]}") from error
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise AssetError(f"it is no file of Superset's: {' '.join(str(error).split())}") from error


def _reads(kind: str, config: dict[str, Any]) -> tuple[str, ...]:
    """The UUIDs of a chart's dataset, or of a dashboard's charts; raises what tells that it is neither."""
    if kind == "charts":
        return (config["dataset_uuid"],)
    if kind == "dashboards":
        return tuple(sorted(find_chart_uuids(config["position"])))
    return ()


def connect(folder: Path, address: str) -> Database:
    """Bring in the database connection; its address, password included, is always the given one."""
    (one,) = read(folder, "databases")
    database: Database = import_database(
        {**one.config, "sqlalchemy_uri": address}, overwrite=True, ignore_permissions=True
    )
    db.session.commit()
    return database


class Assets:
    """Brings datasets, charts and dashboards into Superset, each only where that takes nothing away.

    What is new is made, unless it reads a table that the package of models does not have. What is as we
    left it follows its file. What a person changed stays, and what a person deleted stays away, unless
    `overwrite`.
    """

    def __init__(self, database: Database, schema: str, *, overwrite: bool) -> None:
        self._database = database
        self._schema = schema
        self._overwrite = overwrite

    def bring_in(self, folder: Path) -> list[str]:
        """Import what is to be imported; return a line for each file that counted.

        Each file is brought in wholly or not at all; one that Superset does not take keeps no other away.
        """
        said: list[str] = []
        assets = [asset for kind in KINDS for asset in read(folder, kind, said)]
        absent = Absent(assets, missing(self._database, [one for one in assets if one.kind == "datasets"]))
        for asset in assets:
            try:
                line = self._consider(asset, absent.of(asset))
                db.session.commit()
            except OperationalError:
                raise
            except Exception as error:  # whatever Superset has to say of a file that it did not write
                db.session.rollback()
                line = f"{asset.name}: {UNUSABLE} {_reason(error)}"
            said += [line] if line else []
        return said

    def _consider(self, asset: Asset, absent: str) -> str:
        there = _find(asset.kind, asset.uuid)
        before = metadata.remembered(asset.uuid)
        given = _given(asset, self._schema)
        if absent and there is None and before is None:
            # A line each would be many; a dashboard's says it for its charts and their datasets.
            return f"{asset.name}: {LEFT_OUT} {absent}" if asset.kind == "dashboards" else ""
        if not self._overwrite and before is None and there is not None:
            # Made by somebody here and exported into the files: whether it was changed since is not known.
            if asset.kind == "datasets":
                there.schema = self._schema
            return f"{asset.name}: is there already, stays as it is"
        if not self._overwrite and before is not None:
            if there is None:
                return f"{asset.name}: was deleted in Superset, stays away"
            if given == before[0]:
                return ""
            if _exported(asset.kind, there) != before[1]:
                return f"{asset.name}: was changed in Superset, stays as it is (a newer one is in the files)"
        self._import(asset)
        metadata.remember(asset.uuid, given, _exported(asset.kind, _find(asset.kind, asset.uuid)))
        return f"{asset.name}: {'made' if there is None else 'updated'}"

    def _import(self, asset: Asset) -> None:
        config = dict(asset.config)
        if asset.kind == "datasets":
            config |= {"database_id": self._database.id, "schema": self._schema}
            made = import_dataset(config, overwrite=True, ignore_permissions=True)
            made.catalog = self._database.get_default_catalog()
        elif asset.kind == "charts":
            dataset = _find("datasets", config["dataset_uuid"])
            if dataset is None:
                raise AssetError(f"its dataset {config['dataset_uuid']} is not in Superset")
            config = update_chart_config_dataset(config, _reference(dataset))
            import_chart(config, overwrite=True, ignore_permissions=True)
        else:
            self._import_dashboard(asset)
        db.session.flush()

    def _import_dashboard(self, asset: Asset) -> None:
        charts = {str(one.uuid): one.id for one in db.session.query(Slice)}
        datasets = {str(one.uuid): _reference(one) for one in db.session.query(SqlaTable)}
        wanted = asset.reads
        config = update_id_refs(copy.deepcopy(asset.config), charts, datasets)
        dashboard = import_dashboard(config, overwrite=True, ignore_permissions=True)
        dashboard.slices = [one for one in db.session.query(Slice) if str(one.uuid) in wanted]


class Absent:
    """Which of `assets` read a table that is not there; `datasets` says it by the dataset's UUID.

    The assets come in the order in which they need each other.
    """

    def __init__(self, assets: Iterable[Asset], datasets: Mapping[str, str]) -> None:
        self._said = dict(datasets)
        for asset in assets:
            if said := next(filter(None, map(self._said.get, asset.reads)), None):
                self._said[asset.uuid] = said

    def of(self, asset: Asset) -> str:
        """What PostgreSQL says of such a table; empty where there is none."""
        return self._said.get(asset.uuid, "")


def export(folder: Path, target: Path, schema: str) -> Iterator[str]:
    """Write everything that reads our connection as files below `target`; yield a line for each.

    What came from `folder` keeps its file's name, and its text where nobody changed it; what people made
    gets a name from its title.
    """
    (connection,) = read(folder, "databases")
    datasets = [one for one in db.session.query(SqlaTable) if str(one.database.uuid) == connection.uuid]
    charts = [one for one in db.session.query(Slice) if one.datasource in datasets]
    boards = [one for one in db.session.query(Dashboard) if all(chart in charts for chart in one.slices)]
    for kind, wanted in zip(KINDS, (datasets, charts, boards), strict=True):
        files = {asset.uuid: asset for asset in read(folder, kind)}
        for there in sorted(wanted, key=lambda one: one.id):
            file = files.get(str(there.uuid))
            stem = file.path.stem if file else f"{_stem(_title(there))}_{str(there.uuid)[:4]}"
            path = target / kind / f"{stem}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            unchanged = file is not None and _as_brought_in(file, there, schema)
            if kind == "dashboards":
                _name_charts(there)
            path.write_text(file.text if unchanged else EXPORTS[kind]._file_content(there), encoding="utf-8")
            yield str(path)
        for other in set(db.session.query(KINDS[kind])) - set(wanted):
            yield f"not written, since it reads another connection: {kind}/{_title(other)}"


def _name_charts(dashboard: Dashboard) -> None:
    """Give each chart of a dashboard's layout its UUID: the API takes one without, and an export needs it."""
    layout = json.loads(dashboard.position_json or "{}")
    for place in layout.values():
        meta = place.get("meta", {}) if isinstance(place, dict) and place.get("type") == "CHART" else {}
        chart = next((one for one in dashboard.slices if one.id == meta.get("chartId")), None)
        if chart is not None:
            meta.setdefault("uuid", str(chart.uuid))
    if layout:
        dashboard.position_json = json.dumps(layout)


def _as_brought_in(file: Asset, there: Any, schema: str) -> bool:
    """Whether neither the file nor what became of it was changed since the one was brought in."""
    before = metadata.remembered(file.uuid)
    return before is not None and before == (_given(file, schema), _exported(file.kind, there))


def _given(asset: Asset, schema: str) -> str:
    """A digest of what a file brings in; datasets are brought into the schema of the models."""
    return metadata.digest(asset.text if asset.kind != "datasets" else schema + asset.text)


def _reason(error: Exception) -> str:
    if isinstance(error, AssetError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _title(there: Any) -> str:
    for name in ("table_name", "slice_name", "dashboard_title"):
        if title := getattr(there, name, None):
            return str(title)
    return ""


def _stem(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_") or "untitled"


def _find(kind: str, uuid: str) -> Any:
    return db.session.query(KINDS[kind]).filter_by(uuid=uuid).first()


def _reference(dataset: SqlaTable) -> dict[str, Any]:
    return {
        "datasource_id": dataset.id,
        "datasource_type": dataset.datasource_type,
        "datasource_name": dataset.table_name,
    }


def _exported(kind: str, there: Any) -> str:
    """A digest of what a person can change of it, and of nothing that changes by itself."""
    content = yaml.safe_load(EXPORTS[kind]._file_content(there))
    kept = {key: value for key, value in content.items() if key not in VOLATILE}
    if kind == "charts":
        # Superset writes it by itself when somebody looks at the chart in Explore.
        kept["query_context"] = None
    if kind == "dashboards":
        own = kept.get("metadata", {})
        kept["metadata"] = {key: value for key, value in own.items() if key not in COLOURS}
    return metadata.digest(yaml.safe_dump(kept, sort_keys=True))
