"""`local` makes its secrets once and keeps them, readable by their owner only."""

from __future__ import annotations

import netrc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.runtime import credentials
from cht_sync.settings import declared, load

SECRET_NAMES = {name for name, variable in declared() if variable.secret and not variable.issued}
HARD = st.text(alphabet=st.sampled_from("ab \"'$#\\:!*"), min_size=1, max_size=10).map(str.strip).filter(bool)


def test_every_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / ".cht-sync"
    made = credentials.kept_secrets(folder)
    assert set(made) == SECRET_NAMES
    assert credentials.kept_secrets(folder) == made


def test_two_installations_have_different_secrets(tmp_path: Path) -> None:
    first, second = (credentials.kept_secrets(tmp_path / name) for name in "ab")
    assert not set(first.values()) & set(second.values())


def test_a_secret_that_came_with_an_upgrade_is_added_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / credentials.SECRETS_FILE).write_text('{"COUCHDB_PASSWORD": "old"}')
    kept = credentials.kept_secrets(tmp_path)
    assert kept["COUCHDB_PASSWORD"] == "old"
    assert set(kept) == SECRET_NAMES


def test_only_the_owner_may_enter_the_folder_and_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / ".cht-sync" / "local"
    kept = credentials.kept_secrets(folder)
    credentials.write_for_tools(load(Environment.LOCAL, home=tmp_path, environ={}, kept_secrets=kept))
    assert folder.stat().st_mode & 0o777 == 0o700
    names = {
        credentials.SECRETS_FILE,
        credentials.PGPASS_FILE,
        credentials.NETRC_FILE,
        credentials.SUPERSET_FILE,
    }
    assert {path.name for path in folder.iterdir()} == names
    assert all((folder / name).stat().st_mode & 0o777 == 0o600 for name in names)


@pytest.mark.parametrize("content", ['{"COUCHDB_PASSWORD": "swordfish"', '{"COUCHDB_PASSWORD": 5}', "", "[]"])
def test_damaged_secrets_are_an_error_with_the_way_out_and_are_not_replaced(
    content: str, tmp_path: Path
) -> None:
    path = tmp_path / credentials.SECRETS_FILE
    path.write_text(content)
    with pytest.raises(ChtSyncError, match=r"secrets\.json is damaged") as failure:
        credentials.kept_secrets(tmp_path)
    assert failure.value.hint is not None
    assert "swordfish" not in f"{failure.value} {failure.value.hint}"
    assert path.read_text() == content


@given(user=HARD, password=HARD)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_password_is_read_back_from_the_file_for_curl(tmp_path: Path, user: str, password: str) -> None:
    environ = {"COUCHDB_USER": user, "COUCHDB_PASSWORD": password}
    credentials.write_for_tools(load(Environment.LOCAL, home=tmp_path, environ=environ))
    found = netrc.netrc(tmp_path / ".cht-sync" / "local" / credentials.NETRC_FILE).authenticators("localhost")
    assert found is not None
    assert (found[0], found[2]) == (user, password)


def test_colons_and_backslashes_are_escaped_in_the_file_for_psql(tmp_path: Path) -> None:
    environ = {"POSTGRES_PASSWORD": r"a:b\c", "DBT_POSTGRES_PASSWORD": "d e", "POSTGRES_PORT": "15432"}
    credentials.write_for_tools(load(Environment.LOCAL, home=tmp_path, environ=environ))
    assert (tmp_path / ".cht-sync" / "local" / credentials.PGPASS_FILE).read_text().splitlines() == [
        r"127.0.0.1:15432:*:postgres:a\:b\\c",
        "127.0.0.1:15432:*:data_dbt:d e",
    ]
