"""What every image keeps to, read from the Dockerfiles."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from images.dockerfile import CHECKOUT, PRODUCT, STAND_INS, Dockerfile, Stage, read

from cht_sync.settings import declared

WITH_SETTINGS = "/srv/cht-sync/cht_sync/runtime/containers/with-settings"
PATCH_VERSION = re.compile(r"\S+:\d+\.\d+\.\d+(-\S+)?")
IMAGES = [
    (path.parent.name, file, image) for path in PRODUCT for file in [read(path)] for image in file.images
]
"""Every image of the product: its Dockerfile's folder, the file, the stage."""

each_file = pytest.mark.parametrize("path", PRODUCT + STAND_INS, ids=lambda path: path.parent.name)
each_image = pytest.mark.parametrize(
    ("file", "image"),
    [(file, image) for _, file, image in IMAGES],
    ids=[f"{one}-{image.name}" for one, _, image in IMAGES],
)


def test_there_are_images_for_the_pipelines_the_models_and_the_dashboards() -> None:
    assert {folder for folder, _, _ in IMAGES} == {"dbt", "logstash", "superset"}


@each_file
def test_base_images_are_arguments(path: Path) -> None:
    file = read(path)
    for stage in file.stages.values():
        if stage.base not in file.stages:
            assert stage.base.removeprefix("${").removesuffix("}") in file.arguments, stage.base


def test_a_base_image_is_pinned_to_a_patch_version_and_the_same_everywhere() -> None:
    defaults: dict[str, set[str]] = {}
    for path in PRODUCT:
        for name, default in read(path).arguments.items():
            defaults.setdefault(name, set()).add(default)
    assert set(defaults) == {"PYTHON_BASE_IMAGE", "LOGSTASH_BASE_IMAGE", "SUPERSET_BASE_IMAGE"}
    for name, found in defaults.items():
        assert len(found) == 1, name
        assert PATCH_VERSION.fullmatch(*found), name


@each_image
def test_an_image_does_not_run_as_root(file: Dockerfile, image: Stage) -> None:
    user = file.inherited(image, "USER")[-1]

    assert user.isdigit(), "Kubernetes tells only from a number that it is not root's"
    assert int(user) > 0


@each_image
def test_an_image_takes_its_settings_from_files_and_says_whether_it_is_well(
    file: Dockerfile, image: Stage
) -> None:
    assert json.loads(file.inherited(image, "ENTRYPOINT")[-1])[0] == WITH_SETTINGS
    assert any(
        WITH_SETTINGS.removeprefix("/srv/cht-sync/") in words or "/srv/cht-sync /srv/cht-sync" in words
        for words in file.inherited(image, "COPY")
    )
    assert file.inherited(image, "HEALTHCHECK")[-1] != "NONE"


@each_image
def test_an_image_says_what_it_is(file: Dockerfile, image: Stage) -> None:
    labels = " ".join(file.inherited(image, "LABEL"))
    for name in ("title", "description", "licenses", "version"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert 'image.version="${VERSION}"' in labels
    assert f"VERSION={version('cht-sync')}" in file.inherited(image, "ARG")


@each_image
def test_an_image_holds_no_compiler(file: Dockerfile, image: Stage) -> None:
    commands = " ".join(file.inherited(image, "RUN"))
    assert not re.search(r"\b(gcc|g\+\+|build-essential|[\w.]+-dev)\b", commands)


@each_file
def test_no_secret_is_an_argument_or_in_the_environment(path: Path) -> None:
    file = read(path)
    secrets = {name for name, variable in declared() if variable.secret}
    words = " ".join(
        [
            *file.arguments,
            *(one for stage in file.stages.values() for one in stage.all("ARG") + stage.all("ENV")),
        ]
    )
    assert not secrets & set(re.findall(r"\w+", words))
    assert not re.search(r"PASSWORD|SECRET|TOKEN", words)


@each_file
def test_python_packages_are_installed_by_hash_only(path: Path) -> None:
    commands = " ".join(words for stage in read(path).stages.values() for words in stage.all("RUN"))
    for words in re.findall(r"\bpip install (.*?)(?:&&|$)", commands):
        if path in PRODUCT:
            assert "--require-hashes" in words or "--editable ." in words
            assert "--no-deps" in words


def test_both_engines_are_targets() -> None:
    engine = dict(declared())["PIPELINE_ENGINE"]
    targets = read(CHECKOUT / "logstash/Dockerfile").stages
    for name in ("native", "logstash"):
        assert engine.parse(name) == name
        assert name in targets


@each_file
def test_what_is_copied_is_in_the_build_context(path: Path) -> None:
    wanted = (CHECKOUT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in wanted if line.startswith("!")]
    for stage in read(path).stages.values():
        for words in stage.all("COPY"):
            if "--from=" in words:
                continue
            for source in words.split()[:-1]:
                assert list(CHECKOUT.glob(source)), source
                assert any(source == one or source.startswith(f"{one}/") for one in allowed), source


def test_settings_in_files_become_variables_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "POSTGRES_DB").write_text("data")
    (tmp_path / "DBT_POSTGRES_PASSWORD").write_text('it\'s "$HOME" `id`\\n ä\n')
    (tmp_path / "folder").mkdir()
    environ = {"CHT_SYNC_HANDED_OUT": str(tmp_path), "PATH": "/usr/bin:/bin", "POSTGRES_DB": "another"}

    with_settings = CHECKOUT / "cht_sync/runtime/containers/with-settings"
    answer = subprocess.run(
        [with_settings, "env", "-0"], env=environ, capture_output=True, check=True, text=True
    )

    found = dict(line.split("=", 1) for line in answer.stdout.split("\0") if line)
    assert found.pop("DBT_POSTGRES_PASSWORD") == 'it\'s "$HOME" `id`\\n ä'
    assert found.pop("POSTGRES_DB") == "data"
    assert set(found) <= {*environ, "PWD", "SHLVL", "_"}


def test_without_files_the_command_runs_in_the_environment_as_it_is(tmp_path: Path) -> None:
    with_settings = CHECKOUT / "cht_sync/runtime/containers/with-settings"
    environ = {
        "CHT_SYNC_HANDED_OUT": str(tmp_path / "absent"),
        "PATH": "/usr/bin:/bin",
        "POSTGRES_DB": "data",
    }

    answer = subprocess.run(
        [with_settings, "printenv", "POSTGRES_DB"], env=environ, capture_output=True, check=True, text=True
    )

    assert answer.stdout == "data\n"
