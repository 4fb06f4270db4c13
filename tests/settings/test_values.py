"""What each kind of setting takes and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync import values
from cht_sync.values import Invalid

CHECKOUT = Path(__file__).parent.parent.parent

PARSERS: list[Callable[[str], Any]] = [
    values.whole_number,
    values.port,
    values.seconds,
    values.seconds_or_never,
    values.mapping,
    values.yes_or_no,
    values.host,
    values.endpoint,
    values.path_prefix,
    values.tiles,
    values.identifier,
    values.model_table,
    values.database_that_names_roles,
    values.couchdb_databases,
    values.jwt_secret,
    values.package_address,
    values.one_of("a", "b"),
]


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text() | st.from_regex(r"[0-9]+", fullmatch=True))
def test_any_text_is_a_value_or_is_refused_with_a_reason(parse: Callable[[str], Any], text: str) -> None:
    try:
        parse(text)
    except Invalid as reason:
        assert str(reason).strip()
        assert "\n" not in str(reason)


def test_variables_of_a_package_are_a_mapping_in_yaml_or_json() -> None:
    assert values.mapping("{person_types: [person, patient]}") == {"person_types": ["person", "patient"]}
    assert values.mapping('{"days": 3}') == {"days": 3}
    for wrong in ("[1]", "person", "{1: 2}", "{since: 2026-01-01}", "{a: b", "[" * 5_000, "9" * 5_000):
        with pytest.raises(Invalid):
            values.mapping(wrong)


def test_a_number_of_five_thousand_digits_is_refused() -> None:
    for parse in (values.port, values.whole_number, values.seconds):
        with pytest.raises(Invalid):
            parse("9" * 5_000)


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "86400", ""])
def test_an_interval_is_more_than_nothing_and_less_than_a_day(text: str) -> None:
    with pytest.raises(Invalid, match="is no number of seconds"):
        values.seconds(text)


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes"])
def test_yes_is_told_in_several_ways(text: str) -> None:
    assert values.yes_or_no(text) is True


@pytest.mark.parametrize("text", ["couchdb", "10.0.0.1", "a-b.example.org", "[::1]"])
def test_a_host_is_a_name_or_an_address(text: str) -> None:
    assert values.host(text) == text


@pytest.mark.parametrize("text", ["a:1", "a/b", "https://a", "a b", "::1", "a@b", ""])
def test_a_host_has_no_scheme_port_or_path(text: str) -> None:
    with pytest.raises(Invalid):
        values.host(text)


@pytest.mark.parametrize(
    ("text", "value"), [("a:3000", "a:3000"), ("a:1/", "a:1"), ("a:1/rest/v1/", "a:1/rest/v1")]
)
def test_an_endpoint_has_a_host_a_port_and_perhaps_a_path(text: str, value: str) -> None:
    assert values.endpoint(text) == value


@pytest.mark.parametrize("text", ["a", "http://a:1", "a:b", "a:0", "a:1?b", 'a:1/"', "a:1/${X}", "a:1/%zz"])
def test_an_endpoint_that_no_url_could_hold_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        values.endpoint(text)


@pytest.mark.parametrize("text", ["https://tiles.org/{z}/{x}/{y}.png", "http://a:8080/t?z={z}&x={x}&y={y}"])
def test_tiles_have_an_address_with_places_for_zoom_and_position(text: str) -> None:
    assert values.tiles(text) == text


@pytest.mark.parametrize(
    "text", ["{z}/{x}/{y}", "ftp://a/{z}/{x}/{y}", "https://a/{z}", "https://a; img-src */{z}/{x}/{y}"]
)
def test_tiles_that_no_page_could_load_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        values.tiles(text)


@pytest.mark.parametrize(
    ("text", "value"), [("", ""), ("/", ""), ("couch", "/couch"), ("/a/b/", "/a/b"), ("a%20b", "/a%20b")]
)
def test_a_path_begins_with_a_slash_and_ends_without(text: str, value: str) -> None:
    assert values.path_prefix(text) == value


@pytest.mark.parametrize("text", ['"', "a b", "a\nb", "${SECRET}", "a?b", "a#b", "%", "\\"])
def test_a_path_cannot_break_out_of_a_rendered_configuration(text: str) -> None:
    with pytest.raises(Invalid, match="is no path of a URL"):
        values.path_prefix(text)


@pytest.mark.parametrize("name", ["medic", "_users", "a$b", "a(b)", "a+b", "a-b", "a/b", "m" * 63])
def test_every_name_that_couchdb_allows_is_taken(name: str) -> None:
    assert values.couchdb_databases(name) == (name,)


@pytest.mark.parametrize("name", ["Medic", "1medic", "medic!", "mädic", "medic.x", "$medic", '"', "a;b"])
def test_a_name_that_couchdb_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="is no CouchDB database"):
        values.couchdb_databases(f"medic {name}")


def test_a_name_longer_than_postgres_allows_is_refused() -> None:
    with pytest.raises(Invalid, match=f'"{"m" * 64}", which is longer than 63 bytes'):
        values.couchdb_databases("medic " + "m" * 64)


@pytest.mark.parametrize(
    "name", ["all_documents", "couchdb_progress", "cht_sync_state", "dead_letters", "replaced_values"]
)
def test_a_name_of_our_own_tables_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match=f'"{name}", a name that cht-sync uses itself'):
        values.couchdb_databases(name)


def test_the_script_of_the_schema_refuses_the_same_names() -> None:
    script = (CHECKOUT / "postgres" / "init-db-resources.sh").read_text()
    for name in values.RESERVED_DATABASE_NAMES:
        assert f"'{name}'" in script
    assert values.DATABASE_NAME.pattern in script


@pytest.mark.parametrize("text", ["couchdb", "medic-sentinel", "a/b+c", "all_documents"])
def test_the_relation_of_the_models_may_be_a_database_or_a_new_name(text: str) -> None:
    assert values.model_table(text) == text


@pytest.mark.parametrize(
    "text", ["couchdb_progress", "cht_sync_state", "dead_letters", "replaced_values", "a b", "1a", "a" * 64]
)
def test_the_relation_of_the_models_is_none_of_our_tables_and_a_name(text: str) -> None:
    with pytest.raises(Invalid):
        values.model_table(text)


def test_a_database_leaves_room_for_the_names_of_its_roles() -> None:
    assert values.database_that_names_roles("d" * 49) == "d" * 49
    with pytest.raises(Invalid, match="is longer than 49 bytes"):
        values.database_that_names_roles("d" * 50)


def test_a_signing_secret_is_counted_in_bytes() -> None:
    assert values.jwt_secret("é" * 16) == "é" * 16
    with pytest.raises(Invalid, match="is shorter than 32 bytes"):
        values.jwt_secret("e" * 31)


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.org/health/cht-pipeline.git#main",
        "https://git.example.org/health/cht-pipeline#v1.2",
        "https://git.example.org/health/cht-pipeline",
        "https://git.example.org/health/cht-pipeline.git#feature/new-forms",
        "https://git.example.org:8443/cht-pipeline-1.0.tar.gz?ref=1",
        "http://localhost:3000/cht-pipeline.git#main",
        "http://[::1]:3000/cht-pipeline.git#main",
        "file:///srv/cht-pipeline.git#0123456789abcdef0123456789abcdef01234567",
        "file:///srv/cht-pipeline",
        "/srv/with spaces/and#signs",
        "packages/mine.tgz",
    ],
)
def test_a_package_is_a_folder_a_tarball_or_a_git_repository(address: str) -> None:
    assert values.package_address(address) == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://token@git.example.org/repo.git#main", "CHT_PIPELINE_TOKEN"),
        ("https://me:token@git.example.org/repo.git#main", "CHT_PIPELINE_TOKEN"),
        ("https://:token@git.example.org/repo.git#main", "CHT_PIPELINE_TOKEN"),
        ("git@git.example.org:health/repo.git", "https://"),
        ("ssh://git@git.example.org/repo.git", "https://"),
        ("ext::sh -c id", "neither"),
        ("http://git.example.org/repo.git#main", "in the clear"),
        ("http://127.0.0.1.example.org/repo.git#main", "in the clear"),
        ("https://git.example.org/repo.git#--upload-pack=id", "after #"),
        ("https://git.example.org/repo.git#", "after #"),
        ("https://git.example.org/repo.git#a..b", "after #"),
        ("https://git.example.org/repo.git#a:b", "after #"),
        ("https://git.example.org/repo.git#a b", "after #"),
        ("https://git.example.org/repo.git?token=1#main", "query"),
        ("https://git.example.org/repo.tar.gz#main", "tarball"),
        ("https://git.example.org", "no repository"),
        ("https:///repo.git", "no host"),
        ("https://git.example.org:port/repo.git", "no address"),
        ("file://server/share", "file:///"),
        ("/srv/a\nb", "control character"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_reason(address: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        values.package_address(address)
