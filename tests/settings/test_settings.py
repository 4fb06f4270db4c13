"""Settings are read from the environment and `.env`, and every problem is named before anything starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.settings import (
    Settings,
    check,
    declared,
    default_home,
    env_template,
    file_name,
    load,
    missing_secrets,
)

SECRET = "swordfish-swordfish-swordfish-swordfish"
COMPLETE = {
    "COUCHDB_HOST": "couchdb.internal",
    "COUCHDB_USER": "reader",
    "COUCHDB_PASSWORD": SECRET,
    "COUCHDB_DBS": "medic",
    "POSTGRES_HOST": "postgres.example.org",
    "POSTGRES_PASSWORD": SECRET,
    "PGRST_JWT_SECRET": SECRET,
    "PGRST_DB_PASSWORD": SECRET,
    "DBT_POSTGRES_PASSWORD": SECRET,
    "SUPERSET_PASSWORD": SECRET,
    "SUPERSET_SECRET_KEY": SECRET,
    "SUPERSET_DB_PASSWORD": SECRET,
}
DESIGN_DEFAULTS = {
    "COMPOSE_PROJECT_NAME": None,
    "POSTGRES_USER": None,
    "POSTGRES_PASSWORD": None,
    "POSTGRES_DB": "data",
    "POSTGRES_TABLE": "couchdb",
    "POSTGRES_SCHEMA": "v1",
    "POSTGRES_HOST": None,
    "POSTGRES_PORT": "5432",
    "DBT_POSTGRES_USER": None,
    "DBT_POSTGRES_PASSWORD": None,
    "DBT_POSTGRES_SCHEMA": "dbt",
    "DBT_POSTGRES_HOST": None,
    "CHT_PIPELINE_BRANCH_URL": "",
    "DATAEMON_INTERVAL": "5",
    "COUCHDB_USER": None,
    "COUCHDB_PASSWORD": None,
    "COUCHDB_DBS": None,
    "COUCHDB_HOST": None,
    "COUCHDB_PORT": "5984",
    "COUCHDB_SECURE": None,
    "COUCHDB_SEQ": "0",
    "HTTP_ENDPOINT": "",
    "SUPERSET_PASSWORD": None,
    "SUPERSET_ADMIN_EMAIL": None,
    "POSTGRES_SSLMODE": None,
    "PGRST_JWT_SECRET": None,
    "PGRST_DB_PASSWORD": None,
    "SUPERSET_DB_PASSWORD": None,
    "SUPERSET_SECRET_KEY": None,
    "POSTGREST_PORT": "3000",
    "SUPERSET_PORT": "8080",
    "LOGSTASH_API_PORT": "9600",
    "POSTGREST_BIN": "",
    "PIPELINE_ENGINE": "native",
    "COUCHDB_PATH": "",
}
"""The variables of the design; None where it gives no default."""


def loaded(environ: dict[str, str], home: Path, environment: Environment = Environment.LOCAL) -> Settings:
    return load(environment, home=home, environ=environ)


def problems(environ: dict[str, str], home: Path, environment: Environment) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refusal:
        loaded(environ, home, environment)
    assert refusal.value.exit_code == 2
    assert all("\n" not in problem for problem in refusal.value.problems)
    assert refusal.value.hint is not None
    return refusal.value.problems


@pytest.mark.parametrize(("name", "default"), DESIGN_DEFAULTS.items())
def test_every_variable_of_the_design_is_declared_with_its_default(name: str, default: str | None) -> None:
    variable = dict(declared())[name]
    assert default is None or variable.default == default


def test_every_variable_is_described_and_none_is_declared_twice() -> None:
    names = [name for name, _variable in declared()]
    assert len(names) == len(set(names))
    assert all(variable.help and variable.group for _name, variable in declared())


def test_every_default_and_every_example_passes_its_own_check() -> None:
    for name, variable in declared():
        for text in filter(None, (variable.default, variable.example.strip("\"'"))):
            assert variable.parse(text) is not None, name


def test_no_secret_has_a_default() -> None:
    assert all(not variable.default for _name, variable in declared() if variable.secret)


def test_every_password_is_a_secret() -> None:
    for name, variable in declared():
        assert variable.secret == bool(re.search("PASSWORD|SECRET|TOKEN", name)), name


def test_a_single_service_is_not_asked_for_the_secrets_of_others(tmp_path: Path) -> None:
    given = {"POSTGRES_HOST": "postgres.example.org", "DBT_POSTGRES_PASSWORD": SECRET}
    settings = load(Environment.PROD, home=tmp_path, environ=given, needs=given)
    assert settings.dbt_postgres_password == SECRET
    assert settings.postgres_password == settings.couchdb_password == ""
    with pytest.raises(SettingsError) as refused:
        load(Environment.PROD, home=tmp_path, environ={}, needs=given)
    assert [problem.split()[0] for problem in refused.value.problems] == list(given)


def test_local_needs_no_settings_at_all(tmp_path: Path) -> None:
    settings = loaded({}, tmp_path)
    assert settings.couchdb_dbs == ("medic", "medic-sentinel", "medic-users-meta")
    assert settings.couchdb_url == "http://localhost:5984"
    assert settings.given == {}
    assert list(tmp_path.iterdir()) == []


def test_values_have_the_types_of_their_settings(tmp_path: Path) -> None:
    given = {
        "COUCHDB_SECURE": "Yes",
        "COUCHDB_PATH": "/couch/",
        "COUCHDB_PORT": "6984",
        "DATAEMON_INTERVAL": "0.5",
    }
    settings = loaded(COMPLETE | given, tmp_path)
    assert settings.couchdb_url == "https://couchdb.internal:6984/couch"
    assert settings.dataemon_interval == 0.5


@pytest.mark.parametrize(
    "text", ["medic medic-sentinel", "medic,medic-sentinel", " medic ,\tmedic-sentinel medic,"]
)
def test_databases_are_separated_by_spaces_or_commas_and_named_once(text: str, tmp_path: Path) -> None:
    assert loaded({"COUCHDB_DBS": text}, tmp_path).couchdb_dbs == ("medic", "medic-sentinel")


def test_roles_are_named_after_the_database(tmp_path: Path) -> None:
    settings = loaded({"POSTGRES_DB": "second"}, tmp_path)
    roles = (settings.authenticator_role, settings.anonymous_role, settings.ingest_role, settings.dbt_role)
    assert roles == ("second_authenticator", "second_anon", "second_ingest", "second_dbt")
    assert loaded({"DBT_POSTGRES_USER": "modeller"}, tmp_path).dbt_role == "modeller"


def test_a_source_is_the_host_without_port_and_the_database(tmp_path: Path) -> None:
    assert loaded({"COUCHDB_HOST": "a.example.org"}, tmp_path).source("medic") == "a.example.org/medic"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COUCHDB_PORT=1\nPOSTGRES_PORT=2\n")
    settings = loaded({"COUCHDB_PORT": "3"}, tmp_path)
    assert (settings.couchdb_port, settings.postgres_port) == (3, 2)
    assert settings.given == {"COUCHDB_PORT": "3", "POSTGRES_PORT": "2"}


def test_the_old_name_of_the_databases_still_works(tmp_path: Path) -> None:
    assert loaded({"COUCHDB_DB": "old"}, tmp_path).couchdb_dbs == ("old",)
    assert loaded({"COUCHDB_DB": "old", "COUCHDB_DBS": "new"}, tmp_path).couchdb_dbs == ("new",)


def test_the_old_name_in_the_environment_wins_over_the_new_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COUCHDB_DBS=file\n")
    assert loaded({"COUCHDB_DB": "environment"}, tmp_path).couchdb_dbs == ("environment",)


def test_an_empty_text_means_the_default(tmp_path: Path) -> None:
    assert loaded({"COUCHDB_PORT": " ", "POSTGRES_SCHEMA": ""}, tmp_path).couchdb_port == 5984


def test_kept_secrets_stand_in_for_those_that_are_unset_or_empty(tmp_path: Path) -> None:
    settings = load(
        Environment.LOCAL,
        home=tmp_path,
        environ={"COUCHDB_PASSWORD": "", "POSTGRES_PASSWORD": "mine"},
        kept_secrets={"COUCHDB_PASSWORD": "kept", "POSTGRES_PASSWORD": "kept", "SUPERSET_PASSWORD": "kept"},
    )
    assert settings.couchdb_password == "kept"
    assert settings.postgres_password == "mine"
    assert settings.superset_password == "kept"


@pytest.mark.parametrize("environment", [Environment.GAMMA, Environment.PROD])
def test_what_an_environment_requires_is_named_a_line_each(environment: Environment, tmp_path: Path) -> None:
    found = problems({}, tmp_path, environment)
    required = [name for name, variable in declared() if environment in variable.required]
    assert [problem.partition(" ")[0] for problem in found] == required
    for name, problem in zip(required, found, strict=True):
        assert re.fullmatch(rf"{name} is required for {environment}; for example {name}=.+", problem)


def test_prod_requires_what_the_product_cannot_do_without(tmp_path: Path) -> None:
    assert loaded(COMPLETE, tmp_path, Environment.PROD).postgres_host == "postgres.example.org"
    for name in COMPLETE:
        rest = {other: value for other, value in COMPLETE.items() if other != name}
        (problem,) = problems(rest, tmp_path, Environment.PROD)
        assert problem.startswith(f"{name} is required for prod; for example {name}=")


@pytest.mark.parametrize("name", ["COUCHDB_PASSWORD", "COUCHDB_USER"])
def test_a_variable_of_the_shell_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    given = COMPLETE | {name: os.fsdecode(b"a-Long-0ne-\xff")}
    (problem,) = problems(given, tmp_path, Environment.PROD)
    assert problem.startswith(f"{name} ")
    assert "is not UTF-8 text" in problem
    assert problem.encode()


def test_gamma_starts_a_postgres_of_its_own(tmp_path: Path) -> None:
    rest = {name: value for name, value in COMPLETE.items() if name != "POSTGRES_HOST"}
    assert loaded(rest, tmp_path, Environment.GAMMA).postgres_host == ""


@pytest.mark.parametrize("environment", list(Environment))
def test_an_empty_list_of_databases_is_refused(environment: Environment, tmp_path: Path) -> None:
    (problem,) = problems(COMPLETE | {"COUCHDB_DBS": " , "}, tmp_path, environment)
    assert problem.startswith('COUCHDB_DBS "," names no database')
    (problem,) = problems(COMPLETE | {"COUCHDB_DBS": ""}, tmp_path, environment)
    assert problem.startswith("COUCHDB_DBS ")
    assert problem.endswith('for example COUCHDB_DBS="medic medic-sentinel"')


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("COUCHDB_PORT", "abc", '"abc" is no port (1 to 65535)'),
        ("POSTGRES_PORT", "65536", '"65536" is no port (1 to 65535)'),
        ("POSTGREST_PORT", "0", '"0" is no port (1 to 65535)'),
        ("SUPERSET_PORT", "-1", '"-1" is no port (1 to 65535)'),
        ("LOGSTASH_API_PORT", "80 81", '"80 81" is no port (1 to 65535)'),
        ("COUCHDB_HOST", "http://a", '"http://a" is no host name (give no scheme, port or path)'),
        ("COUCHDB_SECURE", "maybe", '"maybe" is neither true nor false'),
        ("COUCHDB_SEQ", "5-abc", '"5-abc" is none of 0, now'),
        ("COUCHDB_PATH", 'a"b', r'"a\"b" is no path of a URL (percent-encode what is special)'),
        ("HTTP_ENDPOINT", "a", '"a" is not of the form host:port or host:port/path'),
        ("HTTP_ENDPOINT", "a:99999", '"a:99999" is no port (1 to 65535)'),
        ("PIPELINE_BATCH_SIZE", "0", '"0" is no whole number from 1 to 999999999'),
        ("DATAEMON_INTERVAL", "soon", '"soon" is no number of seconds'),
        ("PIPELINE_ENGINE", "kafka", '"kafka" is none of native, logstash'),
        ("POSTGRES_TABLE", "dead_letters", '"dead_letters" is a name that cht-sync uses itself'),
        ("PGRST_JWT_SECRET", "short-secret", "is shorter than 32 bytes"),
        ("SUPERSET_SECRET_KEY", "short-secret", "is shorter than 32 bytes"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_an_example(
    name: str, text: str, what: str, tmp_path: Path
) -> None:
    (problem,) = problems({name: text}, tmp_path, Environment.LOCAL)
    assert problem.startswith(f"{name} {what}; for example {name}=")


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PORT=b\n")
    found = problems({"COUCHDB_PORT": "a", "COUCHDB_DBS": "MEDIC"}, tmp_path, Environment.LOCAL)
    assert [problem.partition(" ")[0] for problem in found] == [
        "COUCHDB_PORT",
        "COUCHDB_DBS",
        "POSTGRES_PORT",
    ]


def test_a_value_of_several_lines_is_shown_on_one(tmp_path: Path) -> None:
    (problem,) = problems({"COUCHDB_HOST": "a\nb\x1b[31m"}, tmp_path, Environment.LOCAL)
    assert r"a\nb\u001b[31m" in problem


def test_no_secret_is_in_an_error_or_in_the_settings_as_text(tmp_path: Path) -> None:
    secrets = {name: f"hidden-{name.lower()}" for name, variable in declared() if variable.secret}
    given = {**secrets, "COUCHDB_PORT": "x", "PGRST_JWT_SECRET": "hidden-short"}
    found = "\n".join(problems(given, tmp_path, Environment.PROD))
    assert "PGRST_JWT_SECRET is shorter than 32 bytes" in found
    assert "hidden" not in found

    settings = loaded(
        {**given, "COUCHDB_PORT": "1", "PGRST_JWT_SECRET": "hidden" * 9, "SUPERSET_SECRET_KEY": "hidden" * 9},
        tmp_path,
    )
    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("COUCHDB_HOST", "https://medic:swordfish@couchdb.example.org"),
        ("COUCHDB_DBS", "http://medic:swordfish@couchdb.example.org/medic"),
        ("HTTP_ENDPOINT", "medic:sword@fish@postgrest:3000"),
    ],
)
def test_a_password_put_before_a_host_by_mistake_is_not_shown(name: str, text: str, tmp_path: Path) -> None:
    (problem,) = problems({name: text}, tmp_path, Environment.LOCAL)
    assert "sword" not in problem
    assert '"***@' in problem


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/x.git?token=swordfish#main", '"https://host/x.git?***#main"'),
        ("https://me@host/x.git?token=swordfish", '"***@host/x.git?***"'),
        ("https://host/x.git?token=sword@fish#main", '"***"'),
        ("https://me:sword?fish@host/x.git", '"***"'),
    ],
)
def test_a_query_is_not_shown(text: str, shown: str, tmp_path: Path) -> None:
    (problem,) = problems({"CHT_PIPELINE_BRANCH_URL": text}, tmp_path, Environment.LOCAL)
    assert problem.startswith(f"CHT_PIPELINE_BRANCH_URL {shown} ")
    assert "fish" not in problem


def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"COUCHDB_PORT=\xff\n")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        loaded({}, tmp_path)


def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("COUCHDB_PORT=1\n")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match=r"\.env cannot be read: Permission denied"):
        loaded({}, tmp_path)


def test_dollar_signs_in_the_file_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COUCHDB_USER=a\nCOUCHDB_PASSWORD='x${COUCHDB_USER}$HOME'\n")
    assert loaded({}, tmp_path).couchdb_password == "x${COUCHDB_USER}$HOME"


def test_the_home_is_the_folder_of_the_variable_else_the_checkout(tmp_path: Path) -> None:
    assert default_home({"CHT_SYNC_HOME": str(tmp_path)}) == tmp_path
    assert (default_home({}) / "env.template").is_file()


def test_missing_secrets_are_made_for_all_that_are_unset_and_differ() -> None:
    made = missing_secrets({"POSTGRES_PASSWORD": "mine", "COUCHDB_PASSWORD": ""})
    secret = {name for name, variable in declared() if variable.secret and not variable.issued}
    assert set(made) == secret - {"POSTGRES_PASSWORD"}
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 32 for value in made.values())


def test_a_secret_that_somebody_else_issues_is_not_made_up() -> None:
    assert "CHT_PIPELINE_TOKEN" not in missing_secrets({})
    assert "secret; local makes" not in env_template().partition("CHT_PIPELINE_TOKEN")[0].splitlines()[-2]


def test_a_written_file_with_fresh_secrets_is_enough_for_local(tmp_path: Path) -> None:
    made = missing_secrets({})
    (tmp_path / ".env").write_text(env_template(made))
    settings = loaded({}, tmp_path)
    assert dict(settings.given) == made


@pytest.mark.parametrize(
    ("database", "name"),
    [
        ("medic-sentinel", "medic-sentinel"),
        ("_users", "_users"),
        ("a/b+c$(d)", "a%2Fb%2Bc%24%28d%29"),
    ],
)
def test_a_database_as_a_file_name_is_percent_encoded(database: str, name: str) -> None:
    assert file_name(database) == name


def test_texts_can_be_checked_before_they_are_kept() -> None:
    check({"COUCHDB_PORT": "5984", "COUCHDB_PATH": ""})
    with pytest.raises(SettingsError) as refusal:
        check({"COUCHDB_PORT": "abc", "PGRST_JWT_SECRET": "hidden"})
    assert [problem.partition(";")[0] for problem in refusal.value.problems] == [
        'COUCHDB_PORT "abc" is no port (1 to 65535)',
        "PGRST_JWT_SECRET is shorter than 32 bytes",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('COUCHDB_DBS="unterminated', r"\.env, line 2: no setting"),
        ("COUCHDB_BDS=medic", r"\.env, line 2: COUCHDB_BDS is no setting; for example COUCHDB_DBS="),
    ],
)
def test_a_line_that_sets_nothing_is_refused_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / ".env").write_text(f"COUCHDB_PORT=5984\n{line}\n")
    with pytest.raises(SettingsError, match=said):
        loaded({}, tmp_path)


def test_a_variable_of_another_program_in_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EDITOR=vi\nCOUCHDB_PORT=1\n")
    assert loaded({}, tmp_path).couchdb_port == 1


@pytest.mark.parametrize("name", ["DBT_POSTGRES_USER", "POSTGRES_USER"])
@pytest.mark.parametrize("part", ["authenticator", "anon", "ingest", "superset"])
def test_a_role_that_has_another_purpose_is_refused_with_an_example(name: str, part: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(
            Environment.PROD,
            read_file=False,
            environ={**COMPLETE, "POSTGRES_DB": "cht", name: f"cht_{part}"},
        )
    (problem,) = refusal.value.problems
    assert problem.startswith(f'{name} "cht_{part}" is a role that cht-sync makes for another purpose; ')
    assert f"for example {name}=" in problem
