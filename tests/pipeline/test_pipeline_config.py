"""The configuration language: text to tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logstash_cases import Case, cases, typed
from printed import CONTEXT
from trees import as_data

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import ConfigProblems, load, parse
from cht_sync.pipeline.config.conditions import compile_condition
from cht_sync.pipeline.config.tree import Branch, Configuration, Plugin


@cases("config_syntax.json")
def test_a_configuration_is_read_or_refused_as_by_logstash(case: Case) -> None:
    def read() -> Configuration:
        escapes = case.get("support_escapes", False)
        configuration = parse(case["config"], env=case.get("env", {}), support_escapes=escapes)
        for node in configuration.filters:
            if isinstance(node, Branch):
                compile_condition(node.cases[0][0])
        return configuration

    if case["valid"]:
        assert typed(as_data(read())) == typed(case["ast"])
        return
    with pytest.raises(ConfigError) as refused:
        read()
    assert (refused.value.line, refused.value.column) > (0, 0)
    if case["stage"] == "env":
        assert case["error_contains"] in str(refused.value)


def refused(text: str, **env: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "pipeline.conf", env=env)
    return caught.value


def test_a_syntax_error_names_file_line_and_column_and_what_was_expected() -> None:
    error = refused("filter {\n  mutate {\n    id = 'x'\n  }\n}")
    assert str(error) == "pipeline.conf:3:8: unexpected '='; expected \"=>\""


def test_an_unclosed_block_is_an_error_at_the_end_of_the_text() -> None:
    error = refused("filter {\n  mutate {\n")
    assert (error.line, error.column) == (3, 1)
    assert "the end of the file" in str(error)


def test_an_undefined_variable_is_refused_where_it_stands() -> None:
    error = refused('filter { mutate { add_field => {\n "a" => "x${NOPE}" } } }')
    assert (error.line, error.column) == (2, 9)
    assert "`NOPE` is not defined" in str(error)


def test_all_problems_of_a_text_are_listed_at_once() -> None:
    error = refused('filter { mutate { a1 => "${A}" b1 => 08\n c1 => "${C}" } }')
    assert isinstance(error, ConfigProblems)
    assert [(one.line, one.column) for one in error.problems] == [(1, 25), (1, 38), (2, 8)]
    assert str(error).count("\n") == 2


def test_nesting_without_bounds_is_refused() -> None:
    assert "nested deeper" in str(refused("filter { mutate { a1 => " + "[" * 5_000))


def test_a_long_chain_of_conditions_is_no_nesting() -> None:
    parse("filter { if " + " and ".join(["[a] == 1"] * 3_000) + " { drop {} } }", env={})


def test_a_variable_in_a_hash_key_is_left_alone() -> None:
    (node,) = parse('filter { mutate { a1 => { "${A}" => "x" } } }', env={"A": "b"}).filters
    assert isinstance(node, Plugin)
    assert node.settings["a1"].value == {"${A}": "x"}


EXPRESSIONS = [
    *(
        f"[a] {sign} {right}"
        for sign in ("==", "!=", "<")
        for right in ("[b][c]", '"x"', "'x'", "-5", "5.5", "[1,2]")
    ),
    *(
        f"[a] {sign} {right}"
        for sign in ("in", "not in")
        for right in ("[b]", '"x"', '["x","y"]', "[1, 2]", "[]")
    ),
    *(f"[a] in {right}" for right in ("[xx, yy]", '[["x","y"],["z"]]', '["x", # c\n "y"]')),
    *(f"[a] {sign} {right}" for sign in ("=~", "!~") for right in ("/x/", "/\\//", '"x"')),
    *("[a]", "![a]", '"x"', "5", "!([a])", '!([a] in ["x","y"])', '(([a] in ["x","y"]))', '["x","y"] == [a]'),
]


@pytest.mark.parametrize("operator", ["and", "or", "xor", "nand"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_any_expression_may_be_followed_by_any_operator(expression: str, operator: str) -> None:
    bare, bracketed, first, last = (
        as_data(parse(f"filter {{ if {text} {{ drop {{ }} }} else if {text} {{ drop {{ }} }} }}", env={}))
        for text in (
            f"{expression} {operator} {expression}",
            f"({expression}) {operator} ({expression})",
            f"({expression} {operator} [z]) or [z]",
            f"(({expression}){operator}([z])) or [z]",
        )
    )
    assert bare == bracketed
    assert first == last


def test_any_name_may_follow_an_array_in_settings() -> None:
    (node,) = parse(
        'filter { mutate { a1 => ["x","y"] and => [1] in => [] or => { "a" => [1] and => [2] in => 3 } } }',
        env={},
    ).filters
    assert isinstance(node, Plugin)
    assert {name: setting.value for name, setting in node.settings.items()} == {
        "a1": ["x", "y"],
        "and": [1],
        "in": [],
        "or": {"a": [1], "and": [2], "in": 3},
    }


# fmt: off
WORDS = ["input", "filter", "output", "if", "else", "and", "or", "xor", "nand", "in", "not in",
         "mutate", "json", "add_field", "add_tag"]
SIGNS = ["{", "}", "[", "]", "(", ")", "=>", ",", "==", "!=", "<", "=~", "!~", "!", "[a]", "[a][b]", '"',
         "\\", "# c\n", "\n", " "]
LITERALS = ['"x"', "'y'", "/r/", "/(/", "5", "-1.5", "08", "1.", '"${A}"', '"${B:c}"']
# fmt: on
PIECES = st.sampled_from([*WORDS, *SIGNS, *LITERALS, 'add_field => { "a" => "${A}" }', 'id => "${A}"'])


@given(st.text() | st.lists(PIECES).map(" ".join) | st.lists(PIECES).map("".join))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    plugin, branch = f"mutate {{ {text} }}", f"if {text} {{ mutate {{ }} }}"
    for whole in (text, *(f"filter {{ {body} }}" for body in (text, plugin, branch))):
        try:
            load(whole, {}, CONTEXT)
        except ConfigError as error:
            assert error.line > 0
            assert error.column > 0
