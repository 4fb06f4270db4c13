"""`env.template` is what the declarations say, and a written `.env` is read back as it was meant."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cht_sync.errors import SettingsError
from cht_sync.settings import declared, env_template

CHECKOUT = Path(__file__).parent.parent.parent
HARD = st.text(alphabet=st.sampled_from("ab \"'$#\\`!&;=%{}[]()<>|*?~^,é"), min_size=1, max_size=12)


def read_back(text: str) -> dict[str, str | None]:
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def test_the_file_is_what_the_settings_declare() -> None:
    """Renew it with: python -c 'from cht_sync.settings import env_template as e; print(e(), end="")'."""
    assert (CHECKOUT / "env.template").read_text() == env_template()


def test_the_file_names_every_variable_once_in_order() -> None:
    named = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (CHECKOUT / "env.template").read_text(), re.MULTILINE)
    assert named == [name for name, _variable in declared()]


def test_the_file_sets_nothing_by_itself() -> None:
    assert read_back(env_template()) == {}


def test_what_is_commented_out_is_the_default() -> None:
    uncommented = re.sub(r"^#(?=[A-Z0-9_]+=)", "", env_template(), flags=re.MULTILINE)
    assert read_back(uncommented) == {name: variable.default for name, variable in declared()}


@given(first=HARD, second=HARD)
@example(first="it's", second='say "hi"')
@example(first="ends with \\", second="'")
@example(first="\\'", second="\\\\'x")
@example(first="# no comment", second="a # comment")
@example(first="$HOME ${HOME}", second="`id`")
def test_a_value_is_read_back_as_it_was_written(first: str, second: str) -> None:
    written = {"COUCHDB_PASSWORD": first.strip(), "SUPERSET_PASSWORD": second.strip()}
    try:
        text = env_template(written)
    except SettingsError:
        assume(False)
    assert read_back(text) == written


@given(value=HARD)
def test_only_what_needs_quotes_and_ends_with_a_backslash_is_refused(value: str) -> None:
    try:
        env_template({"COUCHDB_PASSWORD": value})
    except SettingsError as refusal:
        assert value.endswith("\\")
        assert value[0] in " '\"" or " #" in value
        assert value not in str(refusal)


@pytest.mark.parametrize("value", ["two\nlines", "a\rb", "bell\x07", "nul\0"])
def test_a_value_that_the_file_cannot_hold_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(SettingsError, match="COUCHDB_PASSWORD contains what cannot be printed") as refusal:
        env_template({"COUCHDB_PASSWORD": value})
    assert value not in str(refusal.value)


@pytest.mark.parametrize("value", ["a b", "$HOME", "# x", "a;b", '"', "a`id`"])
def test_a_shell_reads_a_value_without_a_single_quote_as_it_was_meant(value: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(env_template({"COUCHDB_PASSWORD": value}))
    said = subprocess.run(
        ["sh", "-c", '. ./.env; printf %s "$COUCHDB_PASSWORD"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == value
