"""A tree that is written as text is read again as the same tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from logstash_cases import typed
from printed import configuration
from trees import as_data

from cht_sync.pipeline.config import parse
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.config.tree import (
    AllOf,
    AnyOf,
    Branch,
    Compare,
    Configuration,
    Constant,
    Contains,
    Field,
    Matches,
    Not,
    Pattern,
    Plugin,
    Setting,
    Truthy,
)

HERE = Place("", 1, 1)


def is_writable(text: str) -> bool:
    """No text ends in a backslash, and `${...}` is replaced."""
    return not text.endswith("\\") and "${" not in text


texts = st.text().filter(is_writable)
numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**9), 10**9).map(lambda number: number / 4)
setting_names = st.text(st.characters(exclude_characters='"\\'))
names = st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True).filter(lambda name: name not in ("if", "else"))
codecs = st.builds(
    lambda name, settings: Plugin(name, settings, HERE),
    names,
    st.dictionaries(setting_names, st.builds(Setting, texts | numbers, st.just(HERE)), max_size=2),
)
values: st.SearchStrategy[Any] = st.recursive(
    texts | numbers | codecs,
    lambda inner: (
        st.lists(inner.filter(lambda item: not isinstance(item, Plugin)), max_size=3)
        | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)
plugins = st.builds(
    lambda name, settings: Plugin(name, settings, HERE),
    names,
    st.dictionaries(setting_names, st.builds(Setting, values, st.just(HERE)), max_size=3),
)

fields = st.builds(
    lambda parts: Field("".join(f"[{part}]" for part in parts), HERE),
    st.lists(st.text(st.characters(exclude_characters="[],"), min_size=1), min_size=1, max_size=3),
)
constants = st.builds(Constant, texts | numbers, st.just(HERE))
lists = st.builds(
    Constant,
    # A list of one item is a field, and a bracket in a list would end one.
    st.lists(texts.filter(lambda text: not set(text) & set("[]")) | numbers, min_size=2, max_size=4),
    st.just(HERE),
)
patterns = st.builds(Pattern, st.text(st.characters(exclude_characters="/\\")), st.just(HERE))
comparisons = (
    st.builds(Truthy, fields | constants)
    | st.builds(
        Compare,
        st.sampled_from(["eq", "neq", "lt", "gt", "lte", "gte"]),
        fields | constants,
        fields | constants,
    )
    | st.builds(Contains, fields | constants, fields | lists | st.builds(Constant, texts, st.just(HERE)))
    | st.builds(Matches, fields, patterns)
)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(AllOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=5,
)
statements = st.recursive(
    plugins,
    lambda inner: st.builds(
        lambda cases, otherwise: Branch(tuple(cases), otherwise, HERE),
        st.lists(st.tuples(conditions, st.lists(inner, max_size=2)), min_size=1, max_size=3),
        st.none() | st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)
sections = st.lists(statements, max_size=3)


@settings(deadline=None, max_examples=60)
@given(st.builds(Configuration, sections, sections, sections))
def test_a_tree_that_is_written_is_read_as_itself(tree: Configuration) -> None:
    again = parse(configuration(tree), env={}, support_escapes=True)
    assert typed(as_data(again)) == typed(as_data(tree))
