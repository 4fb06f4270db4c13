"""Whatever stands in a configuration, it is a configuration or a ConfigError that names a place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync.environments import Environment
from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import check, load, parse
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.render import render
from cht_sync.settings import load as load_settings

from .searching import TIMEOUT, searches

pytestmark = pytest.mark.timeout(TIMEOUT)

MANY = 3_000
"""More than Python's own limit of calls within calls."""
VARIABLES = {"HERE": "a value", "NUMBER": "7", "ODD": 'quo"te\\ ${HERE}', "EMPTY": ""}

WRITTEN = r"""
# A comment
input {
  couchdb_changes { db => "medic" host => "${HERE:localhost}" port => 5984 password => "${ODD}" }
  generator { lines => ["a", 'b', "c"] count => 3 codec => json { charset => "UTF-8" } }
  stdin { tags => [one, two] add_field => { "a" => "b" "c" => 1.5 } type => "x" }
}
filter {
  if [doc][type] == "person" and ![deleted] or (3 < 4 xor "a" in ["a", "b"]) {
    mutate { rename => { "a" => "[b][c]" } gsub => ["a", "(x+)y{2,3}?", "\1"] convert => [ "a", "integer" ] }
  } else if [a] =~ /^(?<name>[^\/]+)\/$/ or [b] !~ "x|y" {
    date { match => ["time", "ISO8601", "yyyy-MM-dd HH:mm:ss,SSS ZZZ"] timezone => "Africa/Nairobi" }
    fingerprint { source => ["a", "b"] method => "SHA256" key => "${NUMBER}" concatenate_sources => true }
  } else {
    prune { whitelist_names => ["^a", "[b-"] }
    split { field => "[a][b]" }
    truncate { fields => ["a"] length_bytes => 9 }
    json { source => "message" target => "doc" }
  }
  if "x" not in [tags] { drop { percentage => 40 } }
  if !([a] != 1 nand [b] >= -2.5) { clone { clones => ["x"] } }
}
output {
  http {
    url => "http://${HERE}/x" http_method => post headers => { "A" => "%{b}" } format => json_batch
    ssl_certificate_authorities => "/none.pem" retryable_codes => [429, 500]
  }
  stdout { codec => rubydebug }
  file { path => "/none/%{+yyyy}/x" codec => line { format => "%{message}" } }
}
"""


def rendered() -> list[str]:
    """What we render ourselves, for both engines, with redaction."""
    environ = {
        "REDACT_FIELDS": "name contact.phone",
        "REDACT_HASH_FIELDS": "patient_id",
        "REDACT_HASH_SECRET": "sixteen bytes and more",
        "COUCHDB_DBS": "medic",
    }
    settings = load_settings(Environment.LOCAL, home=Path(), environ=environ, read_file=False)
    return [render(settings, engine=engine)["pipeline/medic.conf"] for engine in ("native", "logstash")]


VALID = [WRITTEN, *rendered()]
WORDS = sorted(set(re.findall(r"\w+|=>|[^\w\s]|\"[^\"]*\"|\[[^\[\]]*\]", "\n".join(VALID))))
SNIPPETS = [
    *(
        "${",
        "${HERE}",
        "${NONE}",
        "${HERE:",
        "%{",
        "\\",
        '"',
        "'",
        "#",
        "\r",
        "\0",
        "\ufeff",
        "\u2028",
        "é",
        "😀",
    ),
    *("\ud800", "0" * 400, "9" * 400, "9" * 5000, "-", "-0", "1.", "08", "1e5", ".5", "0.1." + "9" * 400),
    *(
        "/(/",
        "/[/",
        "/(?<n>a)\\k<n>/",
        "/a{99999999999}/",
        "/(?i-mx:a)/",
        "/\\p{Alpha}/",
        "/(?<=a+)b/",
        "/\\/",
    ),
    *("/\\x{110000}/", "/\\u{d800}/", "/[[:alpha:]&&[^a]]/", "/(?>a)++/", "/\\g<0>/", "/(?(1)a|b)/", "/\\8/"),
    *(
        "[a][b]",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "!",
        "not in",
        "not",
        "in",
        "=~",
        "if",
        "else",
        "else if",
        "codec =>",
    ),
]
snippets = st.sampled_from(SNIPPETS) | st.sampled_from(WORDS) | st.text(max_size=6)


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A configuration in which pieces were deleted, doubled, moved or replaced."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 2, 5, 20, 200])))
        piece = text[start:end]
        new = draw(st.just("") | st.just(piece * 2) | snippets.map(lambda snippet: f" {snippet} ") | snippets)
        text = text[:start] + new + text[end:]
    return text


@st.composite
def deep(draw: st.DrawFn) -> str:
    """Something that opens, or goes on, thousands of times."""
    before, again, middle, after, end = draw(
        st.sampled_from(
            [
                ("filter { if ", "(", "[a]", ")", " { } }"),
                ("filter { if ", "!(", "[a]", ")", " { } }"),
                ("filter { if [a] ", "and [b] ", "", "", "{ } }"),
                ("filter { if [a] ", "nand [b] ", "", "", "{ } }"),
                ("filter { if [a] ", "or [b] and [c] ", "", "", "{ } }"),
                ("filter { ", "if [a] { ", "", "} ", "}"),
                ("filter { if [a] { } ", "else if [b] { } ", "", "", "}"),
                ("filter { ", "drop { } ", "", "", "}"),
                ("filter { mutate { add_tag => ", "[", "1", "]", " } }"),
                ("filter { mutate { add_field => ", '{ "a" => ', "1", " }", " } }"),
                ("filter { mutate { add_field => { ", '"a" => "b" ', "", "", "} } }"),
                ("filter { mutate { ", 'add_tag => "a" ', "", "", "} }"),
                ("filter { mutate { ", 'add_field => { "a" => ["b"] } ', "", "", "} }"),
                ("input { stdin { ", "codec => json { ", "", "} ", "} }"),
                ("filter { if [a] in [", '"b", ', '"c"', "", "] { } }"),
                ("filter { if ", "[a]", "", "", " { } }"),
                ("filter { if [a] =~ /", "(", "a", ")", "/ { } }"),
                ("filter { if [a] =~ /", "(?:a|", "b", ")", "/ { } }"),
                ("filter { if [a] =~ /", "[a&&", "b", "]", "/ { } }"),
                ("filter { if [a] =~ /", "(?=", "b", ")", "/ { } }"),
                ('filter { prune { whitelist_names => "', "(", "a", ")", '" } }'),
                ('filter { mutate { gsub => ["a", "', "(?:", "a", ")", '", "b"] } }'),
                ('filter { mutate { add_tag => "', "${HERE:", "a", "}", '" } }'),
                ('filter { mutate { add_tag => "', "%{[a]", "", "}", '" } }'),
                ('filter { mutate { rename => { "', "[a]", "", "", '" => "b" } } }'),
                ('filter { json { source => "message" target => "', "[", "a", "]", '" } }'),
                ("", "#", "", "", ""),
                ("", "input { } ", "", "", ""),
                ('filter { mutate { add_tag => "', "\\", "", "", '" } }'),
                ("filter { if [a] not ", "# no\n", "in [b]", "", " { } }"),
                ("filter { drop ", "# no\n", "{", "", " } }"),
            ]
        )
    )
    opened = draw(st.sampled_from([1, 20, 63, 64, 65, 200, 1100, MANY]))
    closed = draw(st.sampled_from([opened, opened, 0, opened - 1]))
    return before + again * opened + middle + after * closed + end


def judge(text: str, *, escapes: bool = False) -> None:
    try:
        check(parse(text, "x.conf", env=VARIABLES, support_escapes=escapes))
    except ConfigError as error:
        assert error.path == "x.conf"
        assert error.line >= 1


@searches(250)
@given(st.text() | st.lists(snippets, max_size=30).map(" ".join), st.booleans())
def test_any_text_is_a_configuration_or_refused(text: str, escapes: bool) -> None:
    judge(text, escapes=escapes)


@searches(250)
@given(changed(), st.booleans())
def test_a_configuration_that_was_broken_is_a_configuration_or_refused(text: str, escapes: bool) -> None:
    judge(text, escapes=escapes)


@searches(120)
@given(deep())
def test_what_is_deep_or_long_is_a_configuration_or_refused(text: str) -> None:
    judge(text)


@searches(150)
@given(st.text(max_size=30) | st.lists(snippets, max_size=8).map("".join))
def test_any_regular_expression_is_one_or_refused(pattern: str) -> None:
    judge(f"filter {{ if [a] =~ /{pattern}/ {{ }} }}")


@searches(60)
@given(st.binary(max_size=200) | changed().map(lambda text: text.encode(errors="surrogatepass")))
def test_any_file_is_a_configuration_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "fuzz.conf"
    # Refused in any case: what cannot be run is not opened either.
    file.write_bytes(data + b"\nfilter { no_such_plugin { } }")
    with pytest.raises(ConfigError):
        load([file], VARIABLES, PluginContext("main", folder / "data"))
