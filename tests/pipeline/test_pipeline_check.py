"""Checking a configuration: plugins, options, and all problems at once."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import ConfigProblems, check, load, parse
from cht_sync.pipeline.config.problems import flat
from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.conversions import CONVERSIONS, Kind, Password, WrongValue
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.options import Option, options_of
from cht_sync.pipeline.plugins import (
    FilterOptions,
    PluginContext,
    PluginKind,
    is_built_in,
    names,
    option,
    plugins,
    register_filter,
)
from cht_sync.settings import CHECKOUT

CONTEXT = PluginContext("main", Path())


@dataclass(frozen=True)
class Options(FilterOptions):
    secret: Password | None = option("password")
    count: int = option("number", default=3)
    codes: tuple[int, ...] = option("number", many=True, default=())
    on: bool = option("boolean", default=False)
    way: str = option("string", default="up", choices=("up", "down"))
    names: tuple[str, ...] = option("array", default=())
    where: str | None = option("uri")
    table: dict[str, str] | None = option("hash")
    file: Path | None = option("path")


@register_filter("test_options", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    def show(event: Event) -> list[Event]:
        event.metadata["options"] = options
        return [event]

    return show


def options_from(settings: str, **env: str) -> Options:
    (event,) = load(f"filter {{ test_options {{ {settings} }} }}", env, CONTEXT).filter([Event()])
    options = event.metadata["options"]
    assert isinstance(options, Options)
    return options


def refused(text: str, **env: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check(parse(text, "pipeline.conf", env=env))
    return caught.value


def test_texts_from_the_environment_become_the_option_s_type(tmp_path: Path) -> None:
    options = options_from(
        """count => "${COUNT}" on => "${ON}" secret => "${SECRET}" codes => ["429", 500]
           names => one table => ["a", "b"] file => "${FILE}" where => "http://${WHERE}/x" """,
        COUNT="5984",
        ON="true",
        SECRET="hush",
        FILE=str(tmp_path),
        WHERE="example.org:3000",
    )
    assert options == Options(
        count=5984,
        on=True,
        secret=Password("hush"),
        codes=(429, 500),
        names=("one",),
        table={"a": "b"},
        file=tmp_path,
        where="http://example.org:3000/x",
    )


def test_settings_of_the_pipeline_decide_for_options_that_are_not_given() -> None:
    context = dataclasses.replace(CONTEXT, option_defaults={"ecs_compatibility": "disabled"})
    text = 'filter {{ clone {{ clones => "c" {} }} }}'
    (_, clone) = load(text.format(""), {}, context).filter([Event()])
    assert (clone.get("type"), clone.get("tags")) == ("c", None)
    (_, clone) = load(text.format("ecs_compatibility => v8"), {}, context).filter([Event()])
    assert (clone.get("type"), clone.get("tags")) == (None, ["c"])


SECRET = "Bearer TOKSECRET"


@pytest.mark.parametrize(
    "setting",
    [
        *(f'{name} => "{SECRET}"' for name in ("table", "where", "count", "on", "way", "codes")),
        *(f'{name} => "TOKSECRET"' for name in ("table", "where")),
        *(f'{name} => {{ aa => "{SECRET}" }}' for name in ("secret", "where", "count", "on", "way", "file")),
        *(f'{name} => ["{SECRET}", xx, yy]' for name in ("secret", "table", "where", "count", "on", "way")),
        f'secret => json {{ aa => "{SECRET}" }}',
        'file => "-----BEGIN PRIVATE KEY-----\nTOKSECRET\n"',
        f'file => "{"TOKSECRET" * 100}"',
    ],
)
def test_a_value_that_may_be_a_secret_is_not_shown(setting: str) -> None:
    said = str(refused(f"filter {{ test_options {{ {setting} }} }}"))
    assert f'option "{setting.split(maxsplit=1)[0]}" of filter "test_options"' in said
    assert "TOKSECRET" not in said


def test_options_not_given_have_their_defaults() -> None:
    assert options_from("") == Options()


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(options_from("secret => hush"))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("count => many", "expected a number, got 'many'"),
        ("count => [1, 2]", "expected a number, got an array of 2"),
        ("on => 1", "expected true or false, got 1"),
        ("way => side", "expected one of up, down, got 'side'"),
        ("table => [1]", "expected a hash, got an array of 1"),
        ("where => nowhere", "expected an address such as"),
        ("way => { aa => 1 }", "expected a string, got a hash"),
        ('file => "/no/such/file"', "there is no file '/no/such/file'"),
        ('table => "short"', "expected a hash, got a text"),
        ("table => { aa => json { } }", "a codec cannot stand here"),
        ("codes => [1, xx]", "expected a number, got 'xx'"),
        ("add_field => { aa => { bb => 1 } }", "the value of 'aa' must be a text, a number or an array"),
        ('add_tag => "%{+qq}"', "the date pattern %{+qq}: Illegal pattern component: qq"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_where_it_stands(setting: str, reason: str) -> None:
    error = refused(f"filter {{ test_options {{\n {setting} }} }}")
    assert (error.line, error.column) == (2, 2)
    assert f'option "{setting.split(maxsplit=1)[0]}" of filter "test_options": {reason}' in str(error)


def test_a_wrong_password_or_address_is_not_shown() -> None:
    error = refused('filter { test_options { secret => ["hush", "hush"] where => "user:hush@there" } }')
    assert "hush" not in str(error)


def test_a_password_in_the_wrong_place_is_not_shown_in_a_syntax_error() -> None:
    assert "hush" not in str(refused('filter { test_options { secret "hush" } }'))


def test_all_problems_are_listed_at_once_with_the_nearest_names() -> None:
    error = refused(
        """filter {
  mutat { }
  test_options { coutn => 1 on => maybe }
  if [a] { json { } }
  mutate { convert => { "a" => "int" } }
  if [a] =~ /(/ { mutate { } }
}
output { stdout { codec => rubydebg } }
input { if [a] { } }"""
    )
    assert isinstance(error, ConfigProblems)
    assert [str(one) for one in error.problems] == [
        'pipeline.conf:2:3: unknown filter "mutat"; did you mean "mutate"?',
        'pipeline.conf:3:18: unknown option "coutn" of filter "test_options"; did you mean "count"?',
        'pipeline.conf:3:29: option "on" of filter "test_options": expected true or false, got \'maybe\'',
        'pipeline.conf:4:12: filter "json" needs the option "source" (string): The field that holds the JSON '
        "text.",
        'pipeline.conf:5:12: option "convert" of filter "mutate": invalid conversion type \'int\', expected '
        "one of string, integer, float, boolean, integer_eu, float_eu",
        "pipeline.conf:6:13: the regular expression /(/ cannot be used: missing ), unterminated subpattern "
        "at position 0",
        'pipeline.conf:8:19: unknown codec "rubydebg"; did you mean "rubydebug"?',
        "pipeline.conf:9:9: an input cannot depend on a condition",
    ]
    assert str(error).splitlines() == [str(one) for one in error.problems]


ONE_OF_EACH = {
    "1-inputs.conf": """input {
  generatr { }
  grok { }
  couchdb_changes { db => medic host => "${NO_SUCH_HOST}" port => many auth => session username => me }
  file { mode => tail path => relative }
  dead_letter_queue { path => "/no/such/folder" clean_consumed => maybe }
  generator { codec => rubydebug }
}
""",
    "2-broken.conf": """filter {
  mutate { add_tag => }
  json { }
}
""",
    "3-filters.conf": """filter {
  json { }
  date { match => ["at", "${NO_SUCH_FORMAT}"] nonsense => 1 }
  fingerprint { method => IPV4_NETWORK }
  if [a] == "${NO_SUCH_VALUE}" { mutate { id => one } mutate { id => one } }
  ruby { code => "x" }
}
output {
  http { url => "http://127.0.0.1" http_method => put user => me pool_max => 3 position_headers => true }
  http { ulr => "http://127.0.0.1" http_method => post }
}
""",
}


def test_one_of_each_kind_of_problem_over_several_files_is_said_in_one_list(tmp_path: Path) -> None:
    for name, text in ONE_OF_EACH.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigProblems) as caught:
        load(sorted(tmp_path.iterdir()), {}, CONTEXT)
    places = [f"{Path(one.path).name[0]}:{one.line}" for one in caught.value.problems]
    assert places == sorted(places, key=lambda place: [int(part) for part in place.split(":")])
    said = "\n".join(
        f"{place} {one.reason}" for place, one in zip(places, caught.value.problems, strict=True)
    )
    for expected in (
        '1:2 unknown input "generatr"; did you mean "generator"?',
        '1:3 unknown input "grok"; there are couchdb_changes, dead_letter_queue, file,',
        "1:4 Cannot evaluate `${NO_SUCH_HOST}`",
        '1:4 option "port" of input "couchdb_changes": expected a number, got \'many\'',
        '1:4 input "couchdb_changes": auth => "session" needs username and password',
        '1:5 option "path" of input "file": \'relative\' must be absolute',
        '1:5 input "file": mode => "tail" is not supported',
        '1:6 option "clean_consumed" of input "dead_letter_queue": expected true or false',
        '1:7 codec "rubydebug" cannot read events, only write them',
        "2:2 unexpected '}'",
        '3:2 filter "json" needs the option "source"',
        "3:3 Cannot evaluate `${NO_SUCH_FORMAT}`",
        '3:3 unknown option "nonsense" of filter "date"; what it takes: docs/plugins.md#filter-date',
        '3:4 filter "fingerprint": the method IPV4_NETWORK needs the option "key"',
        "3:5 Cannot evaluate `${NO_SUCH_VALUE}`",
        '3:5 the id "one" is already that of another plugin',
        '3:6 filter "ruby" runs Ruby code, which this engine cannot',
        '3:9 output "http": user and password go together; one of them is not set',
        '3:9 output "http": position_headers goes without pool_max',
        '3:10 unknown option "ulr" of output "http"; did you mean "url"?',
    ):
        assert said.count(f"\n{expected}") + said.startswith(expected) == 1, expected
    # Each says itself what to do.
    assert "only write them. Use plain, line, json or json_lines in inputs." in str(caught.value)
    assert caught.value.hint is None
    # Where a name is misspelt the option that was meant is not missing as well.
    assert 'needs the option "url"' not in said
    assert said.count("\n2:") == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("filter", "grok"),
        ("filter", "geoip"),
        ("filter", "aggregate"),
        ("output", "elasticsearch"),
        ("output", "kafka"),
        ("input", "kafka"),
        ("input", "beats"),
        ("codec", "avro"),
    ],
)
def test_where_no_name_is_near_all_are_listed_and_how_to_add_one(kind: PluginKind, name: str) -> None:
    text = f"output {{ stdout {{ codec => {name} }} }}" if kind == "codec" else f"{kind} {{ {name} {{ }} }}"
    said = str(refused(text))
    assert f'unknown {kind} "{name}"; there are {", ".join(sorted(names(kind)))}; how to add one: ' in said
    assert (CHECKOUT / said.rpartition(" ")[2]).is_file()


UNDEFINED = [
    '"${NOPE}"',
    '"x${NOPE}"',
    '["a", "${NOPE}"]',
    '["a", ["${NOPE}"]]',
    '{ "a" => "${NOPE}" }',
    '{ "a" => ["x", { "b" => "${NOPE}" }] }',
    'line { charset => "${NOPE}" }',
    'json { id => ["${NOPE}"] }',
]
FITTING = ['"x"', "5", '["a", "b"]', '{ "a" => "b" }', '"true"', '"http://example.org"', "json { }"]
OPTIONS = {
    (kind, registration.name): sorted(options_of(registration.options))
    for kind in get_args(PluginKind)
    for registration in plugins(kind).values()
    if is_built_in(registration.build)
}


@settings(deadline=None)
@given(st.data())
def test_an_undefined_variable_anywhere_is_told_where_it_stands(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind, name = data.draw(st.sampled_from([one for one in sorted(OPTIONS) if one[0] != "codec"]))
    first, *others = data.draw(st.lists(st.sampled_from(OPTIONS[kind, name]), min_size=1, unique=True))
    lines = [f"{first} => {data.draw(st.sampled_from(UNDEFINED))}"]
    lines += [f"{one} => {data.draw(st.sampled_from(UNDEFINED + FITTING))}" for one in others]
    context = PluginContext("main", tmp_path_factory.getbasetemp())
    with pytest.raises(ConfigError) as caught:
        load("\n".join((f"{kind} {{ {name} {{", *lines, "} }")), {}, context)
    told = [one.line for one in flat(caught.value) if "Replacement variable `NOPE`" in str(one)]
    assert set(told) == {number for number, line in enumerate(lines, 2) if "${NOPE}" in line}


def test_an_option_that_is_wrong_takes_no_part_in_how_options_fit_together() -> None:
    for mode in ("mode => sideways", "mdoe => read", 'mode => "${NO_SUCH_MODE}"'):
        error = refused(f'input {{ file {{ path => "/a" {mode} }} }}')
        assert not isinstance(error, ConfigProblems), str(error)


def test_problems_of_several_files_are_listed_together(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.conf", "b.conf", "c.conf"))
    first.write_text("filter {")
    second.write_bytes(b"\xff")
    with pytest.raises(ConfigProblems) as caught:
        load([first, second, third], {}, CONTEXT)
    assert [Path(one.path).name for one in caught.value.problems] == ["a.conf", "b.conf", "c.conf"]


def test_several_files_make_one_pipeline_in_their_order(tmp_path: Path) -> None:
    for name, tag in (("1.conf", "one"), ("2.conf", "two")):
        (tmp_path / name).write_text(f"filter {{ mutate {{ add_tag => {tag} }} }}")
    pipeline = load([tmp_path / "1.conf", tmp_path / "2.conf"], {}, CONTEXT)
    assert [event.get("tags") for event in pipeline.filter([Event()])] == [["one", "two"]]


@pytest.mark.parametrize("kind", ["input", "filter", "output", "codec"])
def test_every_option_of_every_plugin_says_what_it_is_for(kind: PluginKind) -> None:
    for registration in plugins(kind).values():
        if registration.options is not Options:
            for known in options_of(registration.options).values():
                assert known.help, f"{kind} {registration.name}: {known.name}"


def test_a_check_s_reason_is_given() -> None:
    def refuse(_value: object) -> None:
        raise ValueError("never")

    with pytest.raises(WrongValue, match="never"):
        Option("a", "string", check=refuse).convert("x")


def routed(outputs: str, events: list[Event]) -> list[list[str]]:
    pipeline = load(f"output {{ {outputs} }}", {}, CONTEXT)
    return [[event.fields["n"] for event in share] for _output, share in pipeline.route(events)]


EVENTS = [Event({"n": name}) for name in "abc"]


def test_an_unconditional_output_gets_the_batch_s_own_list() -> None:
    pipeline = load("output { stdout { } stdout { } }", {}, CONTEXT)
    assert [share is EVENTS for _output, share in pipeline.route(EVENTS)] == [True, True]


def test_outputs_get_the_events_of_their_branch_in_order() -> None:
    assert routed(
        """if [n] == "a" { stdout { } } else if [n] == "b" { stdout { } stdout { } } else { stdout { } }
           stdout { }""",
        EVENTS,
    ) == [["a"], ["b"], ["b"], ["c"], ["a", "b", "c"]]


def test_an_output_whose_branch_no_event_takes_gets_none() -> None:
    assert routed('if [n] == "z" { stdout { } }', EVENTS) == [[]]


def test_a_filter_in_a_branch_sees_only_its_events_and_the_order_stays() -> None:
    text = 'filter { if [n] == "b" { mutate { add_field => { "seen" => "yes" } } } }'
    events = load(text, {}, CONTEXT).filter([Event({"n": name}) for name in "abc"])
    assert [(event.get("n"), event.get("seen")) for event in events] == [
        ("a", None),
        ("b", "yes"),
        ("c", None),
    ]


def test_a_pipeline_may_be_closed_twice() -> None:
    pipeline = load("output { stdout { } }", {}, CONTEXT)
    pipeline.close()
    pipeline.close()


written = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(CONVERSIONS)), written, st.booleans())
def test_any_value_is_an_option_s_or_is_refused(kind: Kind, value: Any, many: bool) -> None:
    with contextlib.suppress(WrongValue):
        Option("a", kind, many=many).convert(value)


@settings(deadline=None)
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_numbers_and_booleans_are_read_from_text_as_they_are_written(number: float, flag: bool) -> None:
    if "e" not in repr(number):
        assert Option("a", "number").convert(repr(number)) == number
    assert Option("a", "boolean").convert(str(flag).lower()) is flag
