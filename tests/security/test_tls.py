"""Whoever cannot show a certificate of a trusted authority, for this host, of this time, hears no secret.

Each refusal is one line that says what to do, and the server has got no request.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import requests
from loopback_server import serving
from pipeline.fake_couchdb import FakeCouchdb
from pipeline.http_server import http_server
from postgres_fixture import PostgresServer
from tls_servers import Certificate, Certificates, server_context, tls_postgres

from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import ChtSyncError, DestinationUnavailable, SettingsError, SourceUnavailable, sentences
from cht_sync.pipeline.config import load as load_pipeline
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.pipeline.http.client import Behaviour, HttpClient, NoAnswer, Request
from cht_sync.pipeline.http.tls import Tls
from cht_sync.pipeline.inputs.couchdb_changes import CouchdbChanges, Options
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.reconcile.couch import Couch
from cht_sync.render import render, variables
from cht_sync.runtime import preflight
from cht_sync.runtime.containers import handed_out, inside, running
from cht_sync.runtime.couchdb_counts import CouchdbCounts
from cht_sync.runtime.dbt import transform_options
from cht_sync.runtime.superset import provisioning_variables
from cht_sync.settings import Settings, load, missing_secrets
from cht_sync.tokens import TokenSource
from cht_sync.warehouse.connection import Endpoint, owner_endpoint

NEVER = threading.Event()
PATIENCE = 20.0
SECRET = "a-secret-of-tests-that-is-long-enough-0123456789"
WHAT_TO_DO = {
    "self-signed": ("good", None, "COUCHDB_CA_FILE"),
    "another authority": ("good", "stranger", "COUCHDB_CA_FILE"),
    "expired": ("expired", "authority", "enew the server's certificate"),
    "another host": ("other_host", "authority", "COUCHDB_HOST"),
}
"""What is wrong: the server's certificate, the authority that is trusted, and what the message names."""
wrong = pytest.mark.parametrize(("shown", "trusted", "named"), WHAT_TO_DO.values(), ids=[*WHAT_TO_DO])


@contextmanager
def couchdb(certificate: Certificate) -> Iterator[FakeCouchdb]:
    server = FakeCouchdb()
    server.create()
    server.write("a")
    server.socket = server_context(certificate).wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    with serving(server):
        yield server


def authority(made: Certificates, name: str | None) -> Path | None:
    return getattr(made, name) if name else None


def settings(tmp_path: Path, port: int, ca_file: Path | None, **given: str) -> Settings:
    given |= {"COUCHDB_HOST": "127.0.0.1", "COUCHDB_PORT": str(port), "COUCHDB_SECURE": "true"}
    given |= {"COUCHDB_PASSWORD": "a-password-of-tests", "COUCHDB_DBS": "medic"}
    if ca_file is not None:
        given["COUCHDB_CA_FILE"] = str(ca_file)
    return load(Environment.GAMMA, home=tmp_path, environ=given, read_file=False, needs=())


def verify_counts(wanted: Settings) -> None:
    couch = Couch(wanted, "medic", NEVER)
    try:
        couch.count()
    finally:
        couch.close()


def status_asks(wanted: Settings) -> None:
    problems: list[str] = []
    CouchdbCounts(wanted, problems).ask("medic", None)
    if problems:
        raise ChtSyncError(problems[0])


def preflight_asks(wanted: Settings) -> None:
    found = preflight.look(wanted, ["logstash", "postgres"])
    if found.warnings or found.problems:
        raise ChtSyncError(*found.warnings, *found.problems)


ASKED: dict[str, Callable[[Settings], None]] = {
    "verify": verify_counts,
    "status": status_asks,
    "preflight": preflight_asks,
}
everywhere = pytest.mark.parametrize("ask", ASKED.values(), ids=[*ASKED])


@wrong
@everywhere
def test_no_command_speaks_to_a_couchdb_that_is_not_trusted(
    made: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Settings], None],
    shown: str,
    trusted: str | None,
    named: str,
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "gamma")
    with couchdb(getattr(made, shown)) as server:
        with pytest.raises(ChtSyncError) as refused:
            ask(settings(tmp_path, server.port, authority(made, trusted)))
        assert server.requests == []
    said = sentences(refused.value)
    assert "certificate" in said and named in said and "\n" not in said
    assert "a-password-of-tests" not in said


@everywhere
def test_every_command_trusts_the_authority_of_couchdb_ca_file(
    made: Certificates, tmp_path: Path, ask: Callable[[Settings], None]
) -> None:
    with couchdb(made.good) as server:
        ask(settings(tmp_path, server.port, made.authority))
        assert server.requests != []


def pipeline_input(tmp_path: Path, port: int, ca_file: Path | None) -> CouchdbChanges:
    options = Options(
        db="medic",
        host="127.0.0.1",
        port=port,
        secure=True,
        ca_file=ca_file,
        sequence_path=str(tmp_path / "seq"),
        always_reconnect=False,
        mode="normal",
    )
    return CouchdbChanges(options, PluginContext("medic", tmp_path))


@wrong
def test_no_pipeline_reads_from_a_couchdb_that_is_not_trusted(
    made: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown: str,
    trusted: str | None,
    named: str,
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "gamma")
    with couchdb(getattr(made, shown)) as server:
        source = pipeline_input(tmp_path, server.port, authority(made, trusted))
        source.start(None, NEVER)
        try:
            with pytest.raises(SourceUnavailable) as refused:
                source.read(NEVER, PATIENCE)
        finally:
            source.close()
        assert server.requests == []
    said = sentences(refused.value)
    assert "its certificate is refused" in said and named in said and "\n" not in said


def test_a_pipeline_of_somebody_elses_is_told_of_its_own_options(made: Certificates, tmp_path: Path) -> None:
    with couchdb(made.good) as server:
        source = pipeline_input(tmp_path, server.port, None)
        source.start(None, NEVER)
        try:
            with pytest.raises(SourceUnavailable) as refused:
                source.read(NEVER, PATIENCE)
        finally:
            source.close()
    assert "ca_file of couchdb_changes" in sentences(refused.value)


def test_a_pipeline_trusts_the_authority_of_ca_file(made: Certificates, tmp_path: Path) -> None:
    with couchdb(made.good) as server:
        source = pipeline_input(tmp_path, server.port, made.authority)
        source.start(None, NEVER)
        try:
            batch = source.read(NEVER, PATIENCE)
        finally:
            source.close()
    assert batch is not None
    assert len(batch.events) == 1


@wrong
def test_no_row_and_no_token_is_sent_to_a_postgrest_that_is_not_trusted(
    made: Certificates, shown: str, trusted: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "prod")
    session = requests.Session()
    Tls(authority(made, trusted)).apply(session)
    with http_server(tls=server_context(getattr(made, shown))) as server:
        url = f"https://127.0.0.1:{server.port}"
        connection = PostgrestConnection(url, TokenSource(SECRET, "ingest"), Timeouts(5, PATIENCE), session)
        with pytest.raises(DestinationUnavailable) as refused:
            connection.insert(f"{url}/medic", b"[]", {})
        connection.close()
        assert server.requests == []
    said = sentences(refused.value)
    named = named.replace("COUCHDB_CA_FILE", "HTTP_ENDPOINT_CA_FILE").replace("COUCHDB_HOST", "HTTP_ENDPOINT")
    assert "its certificate is refused" in said and named in said and "\n" not in said


@wrong
def test_no_event_is_sent_to_a_server_that_is_not_trusted(
    made: Certificates, shown: str, trusted: str | None, named: str
) -> None:
    behaviour = Behaviour(
        connect_timeout=5, socket_timeout=5, hosts=1, per_host=1, keepalive=True, repeats=0,
        repeats_all=False, follows_redirects=False, cookies=False, proxy=None,
        tls=Tls(authority(made, trusted)).context(),
    )  # fmt: skip
    with http_server(tls=server_context(getattr(made, shown))) as server:
        with pytest.raises(NoAnswer) as refused:
            HttpClient(behaviour).send(Request("POST", f"https://127.0.0.1:{server.port}/", {}, b"secret"))
        assert server.requests == []
    named = named.replace("COUCHDB_CA_FILE", "ssl_certificate_authorities").replace("COUCHDB_HOST", "url")
    assert "its certificate is refused" in str(refused.value) and named in str(refused.value)


@pytest.fixture(scope="module", params=["good", "expired", "other_host"])
def cluster(
    request: pytest.FixtureRequest, made: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, PostgresServer]]:
    """What it shows, and the server."""
    with tls_postgres(tmp_path_factory.mktemp("postgres"), getattr(made, request.param)) as server:
        yield request.param, server


def endpoint(server: PostgresServer, **options: Any) -> Endpoint:
    return Endpoint(server.host, server.port, "postgres", server.user, server.password, **options)


def test_verify_full_connects_only_where_authority_host_and_time_are_right(
    made: Certificates, cluster: tuple[str, PostgresServer]
) -> None:
    shown, server = cluster
    wanted = endpoint(server, sslmode="verify-full", sslrootcert=str(made.authority))
    if shown == "good":
        with wanted.connect() as connection, connection.cursor() as cursor:
            cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            assert cursor.fetchone() == (True,)
        psycopg2.connect(wanted.uri()).close()
        return
    with pytest.raises(ChtSyncError) as refused, wanted.connect():
        pass
    said = sentences(refused.value)
    assert {"expired": "POSTGRES_SSLROOTCERT", "other_host": "POSTGRES_HOST"}[shown] in said
    assert "certificate" in said and "\n" not in said and server.password not in said


@pytest.mark.parametrize("root", ["stranger", None])
def test_another_authority_and_none_are_refused(
    made: Certificates,
    cluster: tuple[str, PostgresServer],
    root: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _, server = cluster
    path = str(getattr(made, root)) if root else ""
    with (
        pytest.raises(ChtSyncError) as refused,
        endpoint(server, sslmode="verify-full", sslrootcert=path).connect(),
    ):
        pass
    said = sentences(refused.value)
    assert "POSTGRES_SSLROOTCERT" in said and "\n" not in said


def test_psql_and_dbt_are_told_of_the_authority(made: Certificates, tmp_path: Path) -> None:
    given = {"POSTGRES_SSLMODE": "verify-full", "POSTGRES_SSLROOTCERT": str(made.authority)}
    wanted = load(Environment.PROD, home=tmp_path, environ=given, read_file=False, needs=())
    assert owner_endpoint(wanted).libpq_environment()["PGSSLROOTCERT"] == str(made.authority)
    assert transform_options(wanted).environment()["POSTGRES_SSLROOTCERT"] == str(made.authority)
    assert provisioning_variables(wanted)["POSTGRES_SSLROOTCERT"] == str(made.authority)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"COUCHDB_SECURE": "true", "COUCHDB_CA_FILE": "none.pem"}, "cannot be read"),
        ({"COUCHDB_SECURE": "true", "COUCHDB_CA_FILE": "words.pem"}, "holds no PEM certificate"),
        ({"COUCHDB_SECURE": "true", "COUCHDB_CA_FILE": "."}, "cannot be read"),
        ({"COUCHDB_CA_FILE": "ca.pem"}, "COUCHDB_SECURE=true"),
        ({"HTTP_ENDPOINT": "h:1", "HTTP_ENDPOINT_CA_FILE": "ca.pem"}, "HTTP_ENDPOINT_SECURE=true"),
        ({"HTTP_ENDPOINT_SECURE": "true"}, "without HTTP_ENDPOINT"),
        ({"POSTGRES_SSLROOTCERT": "ca.pem"}, "POSTGRES_SSLMODE=verify-full"),
        ({"POSTGRES_SSLMODE": "require", "POSTGRES_SSLROOTCERT": "ca.pem"}, "POSTGRES_SSLMODE=verify-full"),
    ],
)
def test_an_authority_that_is_none_or_that_nobody_asks_is_refused(
    made: Certificates, tmp_path: Path, given: dict[str, str], problem: str
) -> None:
    (tmp_path / "ca.pem").write_bytes(made.authority.read_bytes())
    (tmp_path / "words.pem").write_text("no certificate")
    with pytest.raises(SettingsError) as refused:
        load(Environment.PROD, home=tmp_path, environ=given, read_file=False, needs=())
    assert any(problem in one for one in refused.value.problems)


SECURE = {
    "COUCHDB_HOST": "couchdb.example.org",
    "COUCHDB_SECURE": "true",
    "COUCHDB_CA_FILE": "ca.pem",
    "POSTGRES_HOST": "postgres.example.org",
    "POSTGRES_SSLMODE": "verify-full",
    "POSTGRES_SSLROOTCERT": "ca.pem",
    "HTTP_ENDPOINT": "postgrest.example.org:443",
    "HTTP_ENDPOINT_SECURE": "true",
    "HTTP_ENDPOINT_CA_FILE": "ca.pem",
    "COUCHDB_DBS": "medic",
    "PGRST_JWT_SECRET": SECRET,
}


@pytest.mark.parametrize("engine", ["native", "logstash"])
def test_what_is_rendered_speaks_tls_with_the_authorities_that_were_named(
    made: Certificates, tmp_path: Path, engine: str
) -> None:
    (tmp_path / "ca.pem").write_bytes(made.authority.read_bytes())
    wanted = load(Environment.PROD, home=tmp_path, environ=SECURE, read_file=False, needs=())
    text = render(wanted, engine=engine)["pipeline/medic.conf"]
    assert 'url => "https://${HTTP_ENDPOINT}/medic' in text
    assert 'ssl_certificate_authorities => ["${HTTP_ENDPOINT_CA_FILE}"]' in text
    assert 'ca_file => "${COUCHDB_CA_FILE}"' in text
    assert str(tmp_path) not in text
    if engine == "native":
        pipeline = load_pipeline(text, variables(wanted), PluginContext("medic", tmp_path))
        pipeline.close()


def test_containers_get_the_certificates_as_files_that_their_settings_name(
    made: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(made.authority.read_bytes())
    wanted = load(Environment.PROD, home=tmp_path, environ=SECURE, read_file=False, needs=())
    names = [name for name in SERVICES[Environment.PROD] if name != "postgrest"]
    inside.check(wanted, names)
    found = handed_out.handed_out(handed_out.placed(wanted, names))
    certificate = made.authority.read_text()
    assert found["logstash"]["couchdb_ca_file.pem"] == found["dbt"]["postgres_sslrootcert.pem"] == certificate
    assert found["logstash"]["COUCHDB_CA_FILE"] == "/run/cht-sync/couchdb_ca_file.pem"
    assert found["logstash"]["HTTP_ENDPOINT_CA_FILE"] == "/run/cht-sync/http_endpoint_ca_file.pem"
    for service in ("init-db", "dbt", "superset", "postgrest", "cht-sync"):
        assert found[service]["postgres_sslrootcert.pem"] == certificate, service
    assert "sslrootcert=/run/cht-sync/postgres_sslrootcert.pem" in found["postgrest"]["PGRST_DB_URI"]
    assert [name for name in found["postgres"] if name.endswith(".pem")] == []
    assert str(tmp_path) not in str(found)


def test_local_containers_need_no_authority_for_what_they_start(made: Certificates, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(made.authority.read_bytes())
    wanted = load(Environment.LOCAL, home=tmp_path, environ=SECURE, read_file=False, needs=())
    names = SERVICES[Environment.LOCAL]
    inside.check(wanted, names)
    assert ".pem" not in str(handed_out.handed_out(handed_out.placed(wanted, names)))


def test_containers_are_refused_verification_without_a_root_certificate(tmp_path: Path) -> None:
    given = {"POSTGRES_HOST": "postgres.example.org", "POSTGRES_SSLMODE": "verify-full"}
    wanted = load(Environment.PROD, home=tmp_path, environ=given, read_file=False, needs=())
    with pytest.raises(SettingsError, match="POSTGRES_SSLROOTCERT=postgres-ca"):
        inside.check(wanted, SERVICES[Environment.PROD])


def test_up_puts_the_certificates_beside_the_settings_that_containers_see(
    made: Certificates, tmp_path: Path
) -> None:
    elsewhere = {name: str(made.authority) if value == "ca.pem" else value for name, value in SECURE.items()}
    elsewhere |= {"COUCHDB_USER": "cht-sync", "CHT_SYNC_HOME": str(tmp_path), **missing_secrets(elsewhere)}
    wanted = load(Environment.PROD, home=tmp_path, environ=elsewhere, read_file=False)
    wanted = dataclasses.replace(wanted, runtime_folder="docker")
    engine: Any = SimpleNamespace(project=lambda _name: [], owner_of_data=lambda _name: None)
    running.prepare(wanted, (), engine)
    seen = inside.settings_of_project(Environment.PROD, wanted.data_folder, ("postgrest",))
    assert Path(seen.couchdb_ca_file).read_bytes() == made.authority.read_bytes()
    assert Path(seen.couchdb_ca_file).parent == wanted.data_folder
