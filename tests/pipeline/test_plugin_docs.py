"""docs/plugins.md is what the plugins say of themselves, and they say enough."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cht_sync.pipeline.plugin_docs import plugin_docs
from cht_sync.pipeline.plugins import PluginKind, Registration, is_built_in, options_of, plugins

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
KINDS: tuple[PluginKind, ...] = ("input", "filter", "output", "codec")
BUILT_IN = [one for kind in KINDS for one in plugins(kind).values() if is_built_in(one.build)]


def test_the_document_is_what_the_plugins_declare() -> None:
    """Renew it with `make plugin-docs`, or `UPDATE_GOLDEN=1 make test-fast`."""
    if os.environ.get("UPDATE_GOLDEN") == "1":
        DOCUMENT.write_text(plugin_docs())
    assert DOCUMENT.read_text() == plugin_docs()


def test_every_link_in_it_leads_to_a_plugin() -> None:
    text = plugin_docs()
    links = set(re.findall(r"\(#([a-z_-]+)\)", text))
    headings = {heading.replace(" ", "-") for heading in re.findall(r"^### ([a-z_ ]+)$", text, re.MULTILINE)}
    assert links == headings
    assert len(links) == len(BUILT_IN)


@pytest.mark.parametrize("plugin", BUILT_IN, ids=lambda one: f"{one.kind}-{one.name}")
def test_a_plugin_says_what_it_does_and_every_option_what_it_means(plugin: Registration[Any, Any]) -> None:
    text = sys.modules[plugin.build.__module__].__doc__ or ""
    assert plugin.name in text.partition(":")[0]
    if plugin.kind in ("input", "output"):
        assert "Delivery: " in text
    assert [one.name for one in options_of(plugin.options).values() if not one.help] == []


def test_extensions_are_marked_and_required_options_come_first() -> None:
    (generator,) = re.findall(r"### input generator\n.*?(?=\n### )", plugin_docs(), re.DOTALL)
    assert re.search(r"^\| `batch_size` \| number \| unset \| .* Ours\. \|$", generator, re.MULTILINE)
    assert "not in Logstash" not in generator
    (file,) = re.findall(r"### output file\n.*?(?=\n### )", plugin_docs(), re.DOTALL)
    first, *_ = re.findall(r"^\| `(\w+)` \| \w+ \| (\S+) \|", file, re.MULTILINE)
    assert first == ("path", "required")
