"""Plugins of other packages: the example of the documentation, and what is wrong with broken ones."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import ConfigProblems, load
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext, plugin, plugins

CONTEXT = PluginContext("main", Path())
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "writing-a-plugin.md"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package of one module, with its entry points, where Python finds it."""

    def put(package: str, source: str, **names: str) -> None:
        """`names` are those of filters, each with its module."""
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        information = tmp_path / f"{module}-1.2.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in (names or {module: module}).items()]
        (information / "entry_points.txt").write_text("\n".join(["[cht_sync.filters]", *lines]))
        monkeypatch.syspath_prepend(tmp_path)

    return put


def registering(name: str, body: str = "return lambda event: [event]", options: str = "FilterOptions") -> str:
    return f"""
from cht_sync.pipeline.plugins import FilterOptions, register_filter

@register_filter("{name}", {options})
def build(options, context):
    {body}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def test_the_example_of_the_documentation_is_installed_and_runs(install: Install) -> None:
    (module,), (project,), (config,) = blocks("python"), blocks("toml"), blocks("conf")
    declared = tomllib.loads(project)
    (group, names), *others = declared["project"]["entry-points"].items()
    assert (group, others) == ("cht_sync.filters", [])
    assert list(names.values()) == declared["tool"]["setuptools"]["py-modules"]
    install(declared["project"]["name"], module, **names)
    pipeline = load(config, {}, CONTEXT)
    short, none = pipeline.filter([Event({"doc": {"phone": "+254700123456"}}), Event({"doc": {}})])
    assert (short.get("[doc][phone]"), short.get("tags")) == ("3456", ["shortened"])
    assert none.get("tags") is None
    with pytest.raises(ConfigError, match=r'needs the option "field"'):
        load("filter { last_characters {} }", {}, CONTEXT)


def test_nothing_is_imported_before_a_configuration_names_it(install: Install) -> None:
    install("never-imported", 'raise RuntimeError("imported")')
    load("filter { mutate {} }", {}, CONTEXT)
    assert "never_imported" not in plugins("filter")


def test_a_near_name_is_suggested_without_importing_it(install: Install) -> None:
    install("suggested-filter", 'raise RuntimeError("imported")')
    with pytest.raises(ConfigError, match='did you mean "suggested_filter"'):
        load("filter { suggested_filtr {} }", {}, CONTEXT)


def test_a_plugin_of_the_engine_cannot_be_replaced(install: Install) -> None:
    before = plugin("filter", "mutate")
    install("shadow-one", 'raise RuntimeError("imported")', mutate="shadow_one")
    load("filter { mutate {} }", {}, CONTEXT)
    assert plugin("filter", "mutate") is before


def test_a_module_that_registers_a_name_of_the_engine_is_refused(install: Install) -> None:
    before = plugin("filter", "mutate")
    install("shadow-two", registering("mutate"))
    with pytest.raises(ConfigError, match=r'"mutate" is registered by cht_sync\.pipeline\.filters\.mutate'):
        load("filter { shadow_two {} }", {}, CONTEXT)
    assert plugin("filter", "mutate") is before


@pytest.mark.parametrize(
    ("package", "source", "reason"),
    [
        ("broken-one", "import nowhere", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("broken-two", "raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("broken-three", "", r'does not call register_filter\("broken_three", ...\)'),
        ("broken-four", registering("broken_four", options="int"), "options that are not declared by"),
        (
            "broken-five",
            registering("broken_five", body="raise KeyError('x')"),
            "broken-five 1.2 cannot build it: KeyError: 'x'",
        ),
    ],
)
def test_a_broken_one_is_refused_with_its_place_its_package_and_the_reason(
    install: Install, package: str, source: str, reason: str
) -> None:
    install(package, source)
    with pytest.raises(ConfigError, match=reason) as caught:
        load(f"filter {{ {package.replace('-', '_')} {{}} }}", {}, CONTEXT)
    assert f"{package} 1.2" in str(caught.value)
    assert (caught.value.line, caught.value.column) == (1, 10)


def test_one_that_two_packages_offer_is_refused(install: Install) -> None:
    install("twice-one", registering("twice"), twice="twice_one")
    install("twice-two", registering("twice"), twice="twice_two")
    with pytest.raises(ConfigError, match=r"several packages: twice-one 1\.2, twice-two 1\.2; uninstall"):
        load("filter { twice {} }", {}, CONTEXT)


def test_a_broken_one_does_not_hide_other_problems(install: Install) -> None:
    install("broken-six", "import nowhere")
    with pytest.raises(ConfigProblems) as caught:
        load("filter { broken_six {} mutate { nothing => 1 } }", {}, CONTEXT)
    assert len(caught.value.problems) == 2
