"""What POSTGRES_USER may not do itself an administrator does once: by a script for psql, or by an address."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from click.testing import CliRunner, Result
from psycopg2 import sql
from settings.test_settings import COMPLETE

from cht_sync.cli import main
from cht_sync.environments import Environment
from cht_sync.runtime.containers import command, compose, recorded
from cht_sync.settings import STATE_FOLDER, Settings, declared, load
from cht_sync.warehouse import schema
from warehouse.installation import Installation, headers, put
from warehouse.test_metadata_role import STATE

OWNER_PASSWORD = "owner's \\ long $pass$ größer"
RIGHTS = "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls from pg_roles where rolname = %s"


@dataclass
class Prod:
    """Settings for a database that is not there, with an owner that is not there either."""

    installation: Installation
    home: Path
    variables: dict[str, str]

    @property
    def owner(self) -> str:
        return self.variables["POSTGRES_USER"]

    @property
    def settings(self) -> Settings:
        return load(Environment.PROD, home=self.home, environ=self.variables)

    def run(self, *words: str, standard_input: str = "", **variables: str | None) -> Result:
        unset: dict[str, str | None] = {name: None for name, _variable in declared()}
        environ = {
            **unset,
            "PGPASSWORD": None,
            "CHT_SYNC_HOME": str(self.home),
            **self.variables,
            **variables,
        }
        return CliRunner().invoke(
            main,
            ["init-db", "--env", "prod", *words],
            input=standard_input,
            env=environ,
            catch_exceptions=False,
        )

    def psql(self, script: str, administrator: Administrator) -> str:
        server = self.installation.server
        done = subprocess.run(
            [server.programs / "psql", "--no-psqlrc", "--dbname", "postgres"],
            input=script,
            env={
                **os.environ,
                "PGHOST": server.host,
                "PGPORT": str(server.port),
                "PGUSER": administrator.user,
                "PGPASSWORD": administrator.password,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def works(self) -> None:
        """The ordinary init-db needs no right of its own, and documents become models on dashboards."""
        assert self.installation.query(RIGHTS, self.owner) == [(False,)]
        password = self.settings.superset_metadata_password
        folder = self.installation.server.programs
        for _again in range(2):
            said = schema.initialise(self.settings, psql_folder=folder, superset_metadata_password=password)
        assert said == []
        with closing(self.installation.login("authenticator")) as writer, writer:
            writer.cursor().execute(f'set local role "{self.installation.name}_ingest"')
            put(writer, ("new", "1-a", {}), headers=headers(1, 1, seq="1-x"))
        with closing(self.installation.login("dbt")) as dbt, dbt:
            dbt.cursor().execute("create table dbt.model as select _id from v1.all_documents")
        with closing(self.installation.login("superset")) as superset, superset, superset.cursor() as cursor:
            cursor.execute("select _id from dbt.model")
            assert cursor.fetchall() == [("new",)]
        metadata = replace(
            self.installation, passwords={**self.installation.passwords, "superset_metadata": password}
        )
        with closing(metadata.login("superset_metadata")) as superset, superset:
            superset.cursor().execute("create table logs ()")


@dataclass(frozen=True)
class Administrator:
    user: str
    password: str

    def address(self, prod: Prod) -> str:
        server = prod.installation.server
        login = f"{self.user}:{quote(self.password, safe='')}"
        return f"postgresql://{login}@{server.host}:{server.port}/postgres"


@pytest.fixture
def prod(empty: Installation, tmp_path: Path) -> Iterator[Prod]:
    owner = f"Owner-{secrets.token_hex(4)}$"
    server, superuser = empty.server, sql.Identifier(empty.server.user)
    database, role = sql.Identifier(empty.name), sql.Identifier(owner)
    variables = COMPLETE | {
        "POSTGRES_HOST": server.host,
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_DB": empty.name,
        "POSTGRES_USER": owner,
        "POSTGRES_PASSWORD": OWNER_PASSWORD,
        "PGRST_DB_PASSWORD": empty.passwords["authenticator"] * 2,
        "DBT_POSTGRES_PASSWORD": empty.passwords["dbt"] * 2,
        "SUPERSET_DB_PASSWORD": empty.passwords["superset"] * 2,
    }
    empty.passwords = {name: password * 2 for name, password in empty.passwords.items()}
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("drop database {}").format(database))
            yield Prod(empty, tmp_path, variables)
            cursor.execute("select from pg_database where datname = %s", (empty.name,))
            if cursor.fetchall():
                cursor.execute(sql.SQL("alter database {} owner to {}").format(database, superuser))
            else:
                cursor.execute(sql.SQL("create database {}").format(database))
    empty.drop_roles()
    if empty.query("select from pg_roles where rolname = %s", owner):
        empty.query(sql.SQL("drop owned by {0} cascade; drop role {0}").format(role))


@pytest.fixture(params=["superuser", "createrole"])
def administrator(request: pytest.FixtureRequest, prod: Prod) -> Iterator[Administrator]:
    """The two kinds: of one's own server, and of one that is rented."""
    server = prod.installation.server
    if request.param == "superuser":
        yield Administrator(server.user, server.password)
        return
    rented = Administrator(f"admin_{secrets.token_hex(4)}", "p@ss/word " + secrets.token_hex(4))
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                f"create role {rented.user} login createrole createdb password %s", (rented.password,)
            )
            yield rented
            cursor.execute(sql.SQL("drop owned by {}").format(sql.Identifier(rented.user)))
            cursor.execute(sql.SQL("drop role {}").format(sql.Identifier(rented.user)))


@pytest.fixture
def superuser(prod: Prod) -> Administrator:
    return Administrator(prod.installation.server.user, prod.installation.server.password)


def test_a_script_for_psql_is_all_that_an_administrator_needs(
    prod: Prod, administrator: Administrator
) -> None:
    printed = prod.run("--print-sql")
    assert printed.exit_code == 0
    for _again in range(2):
        prod.psql(printed.stdout, administrator)
    prod.works()
    before = prod.installation.query(STATE)
    assert prod.psql(printed.stdout, administrator).split() == ["SET", "DO", "ALTER", "ROLE"]
    assert prod.installation.query(STATE) == before


def test_the_script_holds_no_password(prod: Prod) -> None:
    script = prod.run("--print-sql").stdout
    secret = {name: value for name, value in prod.variables.items() if value and name.endswith("PASSWORD")}
    assert [name for name, value in secret.items() if value in script] == []
    assert script.count("SCRAM-SHA-256$4096:") == 1


def test_an_address_of_an_administrator_does_it_at_once(prod: Prod, administrator: Administrator) -> None:
    for _again in range(2):
        done = prod.run("--admin-url", "-", standard_input=administrator.address(prod) + "\n")
        assert (done.exit_code, done.stderr) == (0, "")
        assert f"Roles and the database {prod.installation.name} are as init-db needs them." in done.stdout
        assert "is up to date." in done.stdout
        assert administrator.password not in done.stdout
    prod.works()


def test_the_password_may_come_from_pgpassword_and_the_place_from_the_settings(
    prod: Prod, superuser: Administrator
) -> None:
    address = f"postgresql://{superuser.user}@"
    done = prod.run("--admin-url", address, PGPASSWORD=superuser.password)
    assert done.exit_code == 0, done.stderr
    prod.works()


def test_a_database_of_somebody_else_becomes_that_of_the_owner(prod: Prod, superuser: Administrator) -> None:
    with closing(psycopg2.connect(prod.installation.server.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            sql.SQL("create database {} template template0 encoding 'UTF8'").format(
                sql.Identifier(prod.installation.name)
            )
        )
    assert prod.run("--admin-url", "-", standard_input=superuser.address(prod)).exit_code == 0
    prod.works()


def test_a_wrong_password_of_the_administrator_is_one_line(prod: Prod, superuser: Administrator) -> None:
    wrong = replace(superuser, password="swordfish-1")
    done = prod.run("--admin-url", "-", standard_input=wrong.address(prod))
    server = prod.installation.server
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"error: PostgreSQL at {server.host}:{server.port} refuses {wrong.user}: "
        f'password authentication failed for user "{wrong.user}"',
        "Check --admin-url and its password.",
    ]


def test_who_is_no_administrator_is_told_what_one_is(prod: Prod) -> None:
    name = f"nobody_{secrets.token_hex(4)}"
    with closing(psycopg2.connect(prod.installation.server.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"create role {name} login password %s", (name,))
        nobody = Administrator(name, name)
        done = prod.run("--admin-url", "-", standard_input=nobody.address(prod))
        connection.cursor().execute(f"drop role {name}")
    assert done.exit_code == 1
    message, hint = done.stderr.splitlines()
    assert message.endswith(": permission denied to create role")
    assert hint == "An administrator is a superuser, or has createrole and createdb."


def test_a_password_among_the_arguments_is_refused(prod: Prod, superuser: Administrator) -> None:
    done = prod.run("--admin-url", superuser.address(prod))
    assert done.exit_code == 2
    assert "--admin-url -" in done.stderr
    assert superuser.password not in done.stderr


@pytest.mark.parametrize("address", ["", "swordfish-1", "postgresql://a:swordfish-1@h/?x=y", "host=h"])
def test_what_is_no_address_is_refused_without_its_words(prod: Prod, address: str) -> None:
    done = prod.run("--admin-url", "-", standard_input=address)
    assert done.exit_code == 2
    assert "is no address of a PostgreSQL with a user in it" in done.stderr
    assert "swordfish" not in done.stderr


@pytest.mark.parametrize("setting", ["POSTGRES_USER", "DBT_POSTGRES_USER"])
def test_a_superuser_keeps_its_password(prod: Prod, superuser: Administrator, setting: str) -> None:
    prod.variables[setting] = superuser.user
    done = prod.run("--admin-url", "-", standard_input=superuser.address(prod))
    assert done.exit_code == 1
    assert f"{superuser.user} is a superuser, or is who runs this" in done.stderr
    with (
        closing(psycopg2.connect(prod.installation.server.dsn())) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select from pg_roles where rolname like %s", (f"{prod.installation.name}%",))
        assert cursor.fetchall() == []


def test_new_passwords_need_no_administrator(prod: Prod, superuser: Administrator) -> None:
    assert prod.run("--admin-url", "-", standard_input=superuser.address(prod)).exit_code == 0
    new = {name: secrets.token_hex(12) for name in prod.installation.passwords}
    prod.installation.passwords = new
    prod.variables |= {
        "PGRST_DB_PASSWORD": new["authenticator"],
        "DBT_POSTGRES_PASSWORD": new["dbt"],
        "SUPERSET_DB_PASSWORD": new["superset"],
        "SUPERSET_SECRET_KEY": secrets.token_hex(32),
    }
    prod.works()


@pytest.mark.parametrize("given", ["on standard input", "by PGPASSWORD"])
def test_nothing_of_the_address_reaches_children_logs_or_files(
    prod: Prod, superuser: Administrator, given: str
) -> None:
    spy = prod.home / "bin" / "psql"
    spy.parent.mkdir()
    real = prod.installation.server.programs / "psql"
    spy.write_text(f'#!/bin/sh\nenv > "{prod.home}/environment"\nexec "{real}" "$@"\n')
    spy.chmod(0o755)
    path = f"{spy.parent}:{os.environ['PATH']}"
    if given == "by PGPASSWORD":
        address = f"postgresql://{superuser.user}@"
        done = prod.run("--admin-url", address, PATH=path, PGPASSWORD=superuser.password)
    else:
        done = prod.run("--admin-url", "-", standard_input=superuser.address(prod), PATH=path)
    assert done.exit_code == 0, done.stderr
    assert "SUPERSET_DB_PASSWORD" in (prod.home / "environment").read_text()
    found = [file for file in prod.home.rglob("*") if file.is_file()]
    assert [file for file in found if superuser.password in file.read_text()] == []
    assert superuser.password not in done.stdout + done.stderr


def test_it_is_for_a_postgresql_of_somebody_else(prod: Prod) -> None:
    local = prod.run("--print-sql", "--env", "local")
    assert (local.exit_code, local.stdout) == (2, "")
    assert "local has a PostgreSQL of its own" in local.stderr
    gamma = prod.run("--print-sql", "--env", "gamma", POSTGRES_HOST=None)
    assert (gamma.exit_code, gamma.stdout) == (2, "")
    assert "POSTGRES_HOST is required" in gamma.stderr


def test_with_containers_the_address_stays_outside_of_them(
    prod: Prod, superuser: Administrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorded.Recorded(
        environment=Environment.PROD,
        project="cht-sync",
        files=[],
        ports={},
        without=[],
        given=dict(prod.settings.given),
    )
    recorded.write(prod.home / STATE_FOLDER, record)
    inside: list[list[str]] = []

    def run(_where: compose.Compose, words: Sequence[str], _output: Path | None) -> int:
        assert "PGPASSWORD" not in os.environ
        inside.append([*words])
        return 0

    monkeypatch.setattr(command, "run", run)
    done = prod.run("--admin-url", f"postgresql://{superuser.user}@", PGPASSWORD=superuser.password)
    assert (done.exit_code, done.stderr) == (0, "")
    assert inside == [["init-db"]]
    prod.works()
    assert prod.run("--print-sql").exit_code == 0
    assert len(inside) == 1
