"""What the property files say of our tables is complete and true, and dbt makes its documentation of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunner

from cht_sync.transform.runner import DbtRunner

from .warehouse import CHECKOUT, Warehouse, run

OTHER_NAMES = {
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
}


@pytest.fixture(scope="module")
def documentation(
    warehouse: Warehouse, dbt: DbtRunner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The manifest and the catalog that `dbt docs generate` writes."""
    run(dbt)
    options, target = warehouse.options, tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.environment().items():
            patch.setenv(name, value)
        done = dbtRunner().invoke(
            [
                *("--quiet", "docs", "generate", f"--target-path={target}", f"--log-path={target}"),
                *(f"--project-dir={options.project}", f"--profiles-dir={options.profiles}"),
            ]
        )
    assert done.success, done.exception
    manifest, catalog = (
        json.loads((target / name).read_text()) for name in ("manifest.json", "catalog.json")
    )
    assert (target / "index.html").is_file()
    return manifest, catalog


def test_every_column_of_every_table_has_a_description_and_its_type(
    documentation: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> None:
    manifest, catalog = documentation
    assert len(catalog["nodes"]) >= 14
    for unique_id, table in catalog["nodes"].items():
        node = manifest["nodes"][unique_id]
        assert node["description"], unique_id
        declared = {name: column for name, column in node["columns"].items() if column["description"]}
        assert declared.keys() == table["columns"].keys(), unique_id
        for name, column in table["columns"].items():
            said = declared[name]["data_type"]
            if said is not None:
                assert OTHER_NAMES.get(said, said) == column["type"], f"{unique_id}.{name}"


def test_the_sources_are_described(documentation: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    manifest, _catalog = documentation
    for source in manifest["sources"].values():
        assert source["description"]
        assert all(column["description"] for column in source["columns"].values())


def test_the_page_about_models_names_every_model_and_its_variables(
    documentation: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> None:
    manifest, _catalog = documentation
    page = (CHECKOUT / "docs" / "models.md").read_text()
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    forms = {node["name"] for node in models if Path(node["path"]).parts[0] == "forms"}
    named = set(re.findall(r"`(\w+)`", page))
    assert {node["name"] for node in models} - forms <= named
    variables = re.findall(
        r"^  (\w+):", _section(CHECKOUT / "dbt/packages/cht_pipeline/dbt_project.yml"), re.M
    )
    assert set(variables) <= named


def _section(project: Path) -> str:
    """The text of `vars:` in a project file."""
    found = re.search(r"^vars:\n((?:  .*\n|\n)+)", project.read_text(), re.M)
    assert found is not None
    return found[1]
