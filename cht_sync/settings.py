"""Every setting, once: its variable, default, meaning and check.

A setting comes from the process environment, else from `.env`, else from its default. `load` reads
and checks all of them before anything is started, and names every problem at once.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import io
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv.parser import parse_stream

from cht_sync import authorities, weak_secrets
from cht_sync import values as checks
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError

PROJECT_DIR = "CHT_SYNC_PROJECT_DIR"
"""Names the checkout where that cannot be found: cht-sync was installed elsewhere, and runs outside of it."""
MARK = Path("logstash", "pipeline")
"""What a checkout has, and nothing else."""


def find_checkout(environ: Mapping[str, str], *, package: Path, current: Path) -> Path:
    """Where cht-sync's own files are: templates, scripts, models, docker-compose.yml.

    CHT_SYNC_PROJECT_DIR, else where the package is, else the first one upwards from the current folder;
    where there is none, the package's place, for the error message.
    """
    if named := environ.get(PROJECT_DIR):
        return Path(named).resolve()
    for folder in (package, current, *current.parents):
        if _is_checkout(folder):
            return folder
    return package


def _is_checkout(folder: Path) -> bool:
    try:
        return (folder / MARK).is_dir()
    except PermissionError:
        return False


CHECKOUT = find_checkout(os.environ, package=Path(__file__).resolve().parent.parent, current=Path.cwd())

STATE_FOLDER = ".cht-sync"
NEARLY = 0.9
"""How alike a misspelt name is to the one that was meant (difflib's ratio)."""
REDACTION = "Redaction: what stays out of PostgreSQL"
DBT = "dbt: the models"
SUPERSET = "Superset: the dashboards"
DOCKER = "Docker: images, limits, what is published"
OUTSIDE_LOCAL = frozenset({Environment.GAMMA, Environment.PROD})
ROLE_PARTS = ("authenticator", "anon", "ingest", "superset", "superset_metadata")
"""What the names of our roles end in, after the database's."""
AUTHORITIES = ("couchdb_ca_file", "postgres_sslrootcert", "http_endpoint_ca_file")
"""Files of certificates; loaded, each is an absolute path."""
CHOSEN_ELSEWHERE = {"COUCHDB_PASSWORD": "CouchDB", "POSTGRES_PASSWORD": "PostgreSQL"}
"""Passwords of servers that somebody else may run: only what everybody knows is refused of these."""


@dataclass(frozen=True)
class Variable:
    """What is declared of a setting beside its type. The environment's name is the field's, in capitals."""

    help: str
    group: str
    parse: Callable[[str], Any]
    default: str
    required: frozenset[Environment]
    secret: bool
    issued: bool
    """Somebody else gives this secret: it cannot be made up."""
    example: str
    former_name: str | None
    absent: Any
    """The value where the text is empty, as it may be."""


def _memory(default: str, service: str) -> Any:
    return _variable(DOCKER, f"Most memory for {service}", parse=checks.memory, default=default)


def _cpus(service: str) -> Any:
    return _variable(
        DOCKER, f"Most processors for {service}; 0: as many as there are", parse=checks.cpus, default="0"
    )


def _variable(
    group: str,
    help: str,
    *,
    parse: Callable[[str], Any] = str,
    default: str = "",
    required: frozenset[Environment] = frozenset(),
    secret: bool = False,
    issued: bool = False,
    example: str = "",
    former_name: str | None = None,
    absent: Any = "",
) -> Any:
    declared = Variable(
        help, group, parse, default, required, secret, issued, example or default, former_name, absent
    )
    return field(metadata={"variable": declared}, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """All settings of one installation, checked. Text that may be absent is empty then."""

    environment: Environment
    home: Path
    """Where `.env` and the state folder `.cht-sync/` are."""
    given: Mapping[str, str] = field(repr=False)
    """What the operator set, as text by variable; the others have their defaults."""

    compose_project_name: str = _variable(
        "General",
        "Name of this installation with Docker: its containers, networks and volumes begin with it",
        parse=checks.project_name,
        default="cht-sync",
    )
    log_format: str = _variable(
        "General", "Form of the log lines of our services: text, or json (one object a line)",
        parse=checks.one_of("text", "json"), default="text",
    )  # fmt: skip
    log_level: str = _variable(
        "General", "Least level of their log lines", parse=checks.one_of("error", "warn", "info", "debug"),
        default="info",
    )  # fmt: skip

    couchdb_host: str = _variable(
        "CouchDB: what is read", "Host, without scheme and port", parse=checks.host, default="localhost",
        required=OUTSIDE_LOCAL, example="couchdb.example.org",
    )  # fmt: skip
    couchdb_port: int = _variable("CouchDB: what is read", "Port", parse=checks.port, default="5984")
    couchdb_secure: bool = _variable(
        "CouchDB: what is read", "true: https", parse=checks.yes_or_no, default="false"
    )
    couchdb_ca_file: str = _variable(
        "CouchDB: what is read",
        "With https: PEM file of the authority that has signed the server's certificate, relative to this "
        "file; unset: the public authorities",
        parse=checks.certificates, example="couchdb-ca.pem",
    )  # fmt: skip
    couchdb_allow_plain_http: bool = _variable(
        "CouchDB: what is read",
        "true: gamma and prod accept COUCHDB_SECURE=false for a host outside; whoever is on the way then "
        "reads the user's password and every document. Inside are loopback and private addresses, names of "
        "one label, and those that end in .local, .internal, .lan, .svc and the like",
        parse=checks.yes_or_no, default="false",
    )  # fmt: skip
    couchdb_path: str = _variable(
        "CouchDB: what is read",
        "Path before the databases, behind a proxy",
        parse=checks.path_prefix,
        example="/couchdb",
    )
    couchdb_user: str = _variable(
        "CouchDB: what is read", "A user who may read every database named below", default="medic",
        required=OUTSIDE_LOCAL, example="cht-sync",
    )  # fmt: skip
    couchdb_password: str = _variable(
        "CouchDB: what is read", "The user's password", required=OUTSIDE_LOCAL, secret=True
    )
    couchdb_dbs: tuple[str, ...] = _variable(
        "CouchDB: what is read", "The databases to copy, separated by spaces or commas",
        parse=checks.couchdb_databases, default="medic,medic-sentinel,medic-users-meta",
        required=OUTSIDE_LOCAL, example='"medic medic-sentinel"', former_name="COUCHDB_DB",
    )  # fmt: skip
    couchdb_seq: str = _variable(
        "CouchDB: what is read",
        "Where a database without a saved position begins: 0 (everything) or now",
        parse=checks.one_of("0", "now"), default="0",
    )  # fmt: skip

    postgres_host: str = _variable(
        "PostgreSQL: where it goes", "Host; unset: the one that cht-sync starts (local, gamma)",
        parse=checks.host, required=frozenset({Environment.PROD}), example="postgres.example.org",
    )  # fmt: skip
    postgres_port: int = _variable("PostgreSQL: where it goes", "Port", parse=checks.port, default="5432")
    postgres_sslmode: str = _variable(
        "PostgreSQL: where it goes", "As libpq's sslmode",
        parse=checks.one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        default="prefer",
    )  # fmt: skip
    postgres_sslrootcert: str = _variable(
        "PostgreSQL: where it goes",
        "With POSTGRES_SSLMODE=verify-full or verify-ca: PEM file of the authority that has signed the "
        "server's certificate, relative to this file; unset: libpq's (local processes only). The word system "
        "is not taken: name the machine's file, for example /etc/ssl/certs/ca-certificates.crt",
        parse=checks.certificates, example="postgres-ca.pem",
    )  # fmt: skip
    postgres_db: str = _variable(
        "PostgreSQL: where it goes", "Database", parse=checks.database_that_names_roles, default="data"
    )
    postgres_user: str = _variable(
        "PostgreSQL: where it goes", "Owner of everything that cht-sync creates there",
        parse=checks.identifier, default="postgres",
    )  # fmt: skip
    postgres_password: str = _variable(
        "PostgreSQL: where it goes", "The owner's password", required=OUTSIDE_LOCAL, secret=True
    )
    postgres_schema: str = _variable(
        "PostgreSQL: where it goes", "Schema of the documents", parse=checks.identifier, default="v1"
    )
    postgres_table: str = _variable(
        "PostgreSQL: where it goes",
        "The relation that models read: one of the databases, or else a view over all of them",
        parse=checks.model_table, default="couchdb",
    )  # fmt: skip

    postgrest_port: int = _variable("PostgREST: the way in", "Port", parse=checks.port, default="3000")
    postgrest_admin_port: int | None = _variable(
        "PostgREST: the way in",
        "Port of /metrics, /ready and /live of local processes; unset: none. Containers: never published",
        parse=checks.port, absent=None, example="3001",
    )  # fmt: skip
    http_endpoint: str = _variable(
        "PostgREST: the way in", "host:port[/path] of another PostgREST; unset: the one that cht-sync starts",
        parse=checks.endpoint, example="postgrest.example.org:3000",
    )  # fmt: skip
    http_endpoint_secure: bool = _variable(
        "PostgREST: the way in", "true: https to HTTP_ENDPOINT", parse=checks.yes_or_no, default="false"
    )
    http_endpoint_ca_file: str = _variable(
        "PostgREST: the way in",
        "With https: PEM file of the authority that has signed its certificate, relative to this file; "
        "unset: the public authorities",
        parse=checks.certificates, example="postgrest-ca.pem",
    )  # fmt: skip
    postgrest_bin: str = _variable(
        "PostgREST: the way in", "Program to run instead of the embedded ingest server", example="postgrest"
    )
    pgrst_jwt_secret: str = _variable(
        "PostgREST: the way in", "Signs the pipeline's tokens; at least 32 bytes", parse=checks.jwt_secret,
        required=OUTSIDE_LOCAL, secret=True,
    )  # fmt: skip
    pgrst_db_password: str = _variable(
        "PostgREST: the way in", "Password of the role that PostgREST logs in with", required=OUTSIDE_LOCAL,
        secret=True,
    )  # fmt: skip

    pipeline_engine: str = _variable(
        "Logstash: the pipelines", "native (our engine) or logstash (Elastic's)",
        parse=checks.one_of("native", "logstash"), default="native",
    )  # fmt: skip
    pipeline_batch_size: int = _variable(
        "Logstash: the pipelines", "Most documents in one request", parse=checks.whole_number, default="1000"
    )
    load_from_documents: int = _variable(
        "Logstash: the pipelines",
        "In gamma and prod a database with so many documents, of which the table has few or none, is loaded "
        "by several processes while its pipeline follows the changes (see docs/scaling.md); 0: never",
        parse=checks.whole_number_or_none, default="1000000",
    )  # fmt: skip
    load_workers: int = _variable(
        "Logstash: the pipelines", "So many processes do that", parse=checks.whole_number, default="4"
    )
    load_metrics_port: int = _variable(
        "Logstash: the pipelines",
        "Port of /metrics and /healthz of `cht-sync load --serve`",
        parse=checks.port,
        default="9602",
    )
    logstash_api_port: int = _variable(
        "Logstash: the pipelines",
        "Port of the monitoring API (see docs/operating.md)",
        parse=checks.port,
        default="9600",
    )

    redact_fields: tuple[str, ...] = _variable(
        REDACTION, "Fields that are removed from every document, separated by spaces or commas",
        parse=checks.field_paths, example='"name phone contact.phone"', absent=(),
    )  # fmt: skip
    redact_hash_fields: tuple[str, ...] = _variable(
        REDACTION, "Fields whose values are replaced by keyed hashes", parse=checks.field_paths,
        example='"patient_id fields.patient_name"', absent=(),
    )  # fmt: skip
    redact_hash_secret: str = _variable(
        REDACTION, "The key of these hashes, at least 16 bytes; needed with REDACT_HASH_FIELDS",
        parse=checks.hash_secret, secret=True,
    )  # fmt: skip

    dbt_postgres_host: str = _variable(DBT, "Host; unset: POSTGRES_HOST", parse=checks.host)
    dbt_postgres_user: str = _variable(
        DBT, "Role of the models; unset: <POSTGRES_DB>_dbt", parse=checks.identifier
    )
    dbt_postgres_password: str = _variable(DBT, "The role's password", required=OUTSIDE_LOCAL, secret=True)
    dbt_postgres_schema: str = _variable(DBT, "Schema of the models", parse=checks.identifier, default="dbt")
    cht_pipeline_branch_url: str = _variable(
        DBT, "The package of models: a folder, a tarball, or a git repository with #branch, #tag or "
        "#commit; unset: our own", parse=checks.package_address,
        example="https://git.example.org/health/cht-pipeline.git#main",
    )  # fmt: skip
    cht_pipeline_token: str = _variable(
        DBT, "Opens a private repository or tarball; never written into the address", secret=True, issued=True
    )
    cht_pipeline_update_interval: float = _variable(
        DBT, "Seconds between two looks for a new version of the package; 0: only at a start",
        parse=checks.seconds_or_never, default="300",
    )  # fmt: skip
    dataemon_interval: float = _variable(
        DBT, "Seconds between two runs, at least", parse=checks.seconds, default="5"
    )
    dbt_select: tuple[str, ...] = _variable(
        DBT, "Which models run, as dbt's --select; unset: all", parse=checks.words, absent=(),
        example='"tag:daily+ path:models/forms"',
    )  # fmt: skip
    dbt_exclude: tuple[str, ...] = _variable(
        DBT, "Which models do not run, as dbt's --exclude", parse=checks.words, absent=(), example="tag:slow"
    )
    dbt_threads: int = _variable(DBT, "Models at a time", parse=checks.whole_number, default="2")
    dbt_batch_size: int | None = _variable(
        DBT, "Most documents that a model takes in a run, where the package has batch_size; unset: all",
        parse=checks.whole_number, absent=None, example="10000",
    )  # fmt: skip
    dbt_vars: Mapping[str, Any] = _variable(
        DBT, "Variables of the package, as dbt's --vars", parse=checks.mapping, absent={},
        example="'{person_types: [person, patient]}'",
    )  # fmt: skip
    dbt_test_interval: float = _variable(
        DBT, "Seconds between two runs of the package's tests; 0: never",
        parse=checks.seconds_or_never, default="3600",
    )  # fmt: skip
    couch2pg_refresh_interval: float = _variable(
        DBT,
        "Seconds between two refreshes of couch2pg's materialised views, at least, where "
        "`cht-sync migrate views` has made them (see docs/couch2pg-views.md); 0: never",
        parse=checks.seconds_or_never, default="300",
    )  # fmt: skip
    dbt_results_days: int = _variable(
        DBT, "Days for which the results of runs are kept", parse=checks.whole_number, default="14"
    )
    dbt_metrics_port: int = _variable(
        DBT, "Port of /metrics and /healthz of the loop", parse=checks.port, default="9601"
    )

    superset_port: int = _variable(SUPERSET, "Port", parse=checks.port, default="8080")
    superset_admin_email: str = _variable(
        SUPERSET, "Address of the first administrator, who signs in as admin",
        default="admin@localhost", example="admin@example.org",
    )  # fmt: skip
    superset_password: str = _variable(
        SUPERSET, "That person's password", required=OUTSIDE_LOCAL, secret=True
    )
    superset_secret_key: str = _variable(
        SUPERSET, "Signs the sessions and encrypts stored passwords; at least 32 bytes",
        parse=checks.jwt_secret, required=OUTSIDE_LOCAL, secret=True,
    )  # fmt: skip
    superset_db_password: str = _variable(
        SUPERSET, "Password of its read-only role in PostgreSQL", required=OUTSIDE_LOCAL, secret=True
    )
    superset_map_tiles: str = _variable(
        SUPERSET, "Tiles that maps may lie on, from the one other host that pages may then load from",
        parse=checks.tiles, example="https://tile.openstreetmap.org/{z}/{x}/{y}.png",
    )  # fmt: skip

    superset_behind_tls: bool = _variable(
        SUPERSET,
        "true: a proxy with TLS is in front. Cookies travel over TLS only; its X-Forwarded headers count",
        parse=checks.yes_or_no, default="false",
    )  # fmt: skip

    publish_address: str = _variable(
        DOCKER, "Address of this machine on which Superset, and in local and gamma the databases, listen",
        parse=checks.address, default="127.0.0.1",
    )  # fmt: skip
    cht_sync_image: str = _variable(
        DOCKER, "Image of cht-sync: dbt, the generator and what runs once; built here where it is not set",
        parse=checks.image, default="cht-sync:0.7.0",
    )  # fmt: skip
    logstash_image: str = _variable(
        DOCKER, "Image of the pipelines; unset: cht-sync-logstash:<PIPELINE_ENGINE>, built here",
        parse=checks.image,
    )  # fmt: skip
    superset_image: str = _variable(
        DOCKER, "Image of Superset with the dashboards; built here where it is not set",
        parse=checks.image, default="cht-sync-superset:0.7.0",
    )  # fmt: skip
    postgres_image: str = _variable(
        DOCKER,
        "Image of PostgreSQL: 16 or 17, of Debian",
        parse=checks.image,
        default="postgres:17.6-bookworm",
    )
    postgrest_image: str = _variable(
        DOCKER, "Image of PostgREST, 13 or 14", parse=checks.image, default="postgrest/postgrest:v14.17"
    )
    couchdb_image: str = _variable(
        DOCKER, "Image of the CouchDB of local", parse=checks.image, default="couchdb:3.4.3"
    )
    python_base_image: str = _variable(
        DOCKER, "What our own images are built on: Debian with Python 3.11 to 3.13",
        parse=checks.image, default="python:3.12.13-slim-bookworm",
    )  # fmt: skip
    superset_base_image: str = _variable(
        DOCKER, "What the image of Superset is built on: the official one, or Debian with Python 3.11, 3.12",
        parse=checks.image, default="apache/superset:6.1.0",
    )  # fmt: skip
    logstash_base_image: str = _variable(
        DOCKER, "What the image of PIPELINE_ENGINE=logstash is built on", parse=checks.image,
        default="docker.elastic.co/logstash/logstash:8.19.18",
    )  # fmt: skip
    log_max_size: str = _variable(
        DOCKER, "Size at which the log of a container is put aside", parse=checks.memory, default="10m"
    )
    log_max_files: int = _variable(
        DOCKER, "Logs kept of each container", parse=checks.whole_number, default="3"
    )
    postgres_memory: str = _memory("2g", "PostgreSQL")
    couchdb_memory: str = _memory("1g", "CouchDB")
    postgrest_memory: str = _memory("512m", "PostgREST")
    logstash_memory: str = _memory("1g", "the pipelines")
    load_memory: str = _memory("1g", "the load of large databases")
    data_generator_memory: str = _memory("256m", "the data generator")
    dbt_memory: str = _memory("1g", "dbt")
    superset_memory: str = _memory("2g", "Superset")
    tools_memory: str = _memory("512m", "each of what runs once, and of single commands")
    postgres_cpus: float = _cpus("PostgreSQL")
    couchdb_cpus: float = _cpus("CouchDB")
    postgrest_cpus: float = _cpus("PostgREST")
    logstash_cpus: float = _cpus("the pipelines")
    load_cpus: float = _cpus("the load of large databases")
    data_generator_cpus: float = _cpus("the data generator")
    dbt_cpus: float = _cpus("dbt")
    superset_cpus: float = _cpus("Superset")

    runtime_folder: str = ""
    """Below the state folder; Docker's data has nothing to do with that of local processes."""

    @property
    def state_folder(self) -> Path:
        """What is recorded of the embedded environment that runs, its logs, and installed packages."""
        return self.home / STATE_FOLDER

    @property
    def data_folder(self) -> Path:
        """What one environment keeps between two starts: no other environment sees it."""
        return self.state_folder / self.runtime_folder / self.environment.value

    @property
    def log_variables(self) -> dict[str, str]:
        """What a service of ours is told about its log."""
        return {"LOG_FORMAT": self.log_format, "LOG_LEVEL": self.log_level}

    @property
    def dbt_role(self) -> str:
        """The role that dbt logs in with."""
        return self.dbt_postgres_user or f"{self.postgres_db}_dbt"

    @property
    def authenticator_role(self) -> str:
        """The role that PostgREST logs in with."""
        return f"{self.postgres_db}_authenticator"

    @property
    def anonymous_role(self) -> str:
        """The role of a request without a token; it may do nothing."""
        return f"{self.postgres_db}_anon"

    @property
    def ingest_role(self) -> str:
        """The role that the pipeline's token carries."""
        return f"{self.postgres_db}_ingest"

    @property
    def superset_role(self) -> str:
        """The role that dashboards read the models with."""
        return f"{self.postgres_db}_superset"

    @property
    def superset_metadata_role(self) -> str:
        """The role that owns Superset's own tables, where they are in PostgreSQL."""
        return f"{self.postgres_db}_superset_metadata"

    @property
    def superset_metadata_password(self) -> str:
        """Made from SUPERSET_SECRET_KEY, so that there is one secret less to keep; empty without that key."""
        key = self.superset_secret_key.encode()
        return hmac.new(key, b"metadata", hashlib.sha256).hexdigest() if key else ""

    def source(self, database: str) -> str:
        """What rows and progress say of where they come from: `<host>/<database>`."""
        return f"{self.couchdb_host}/{database}"

    @property
    def couchdb_url(self) -> str:
        """The server's address without credentials and final slash."""
        scheme = "https" if self.couchdb_secure else "http"
        return f"{scheme}://{self.couchdb_host}:{self.couchdb_port}{self.couchdb_path}"


def declared() -> Iterator[tuple[str, Variable]]:
    """Every variable's name and declaration, in the order of `env.template`."""
    for item in fields(Settings):
        if "variable" in item.metadata:
            yield item.name.upper(), _declaration(item)


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`CHT_SYNC_HOME`, else the checkout: where `.env` and `.cht-sync/` are. Raises SettingsError."""
    if not _is_checkout(CHECKOUT):
        raise SettingsError(
            [f"{CHECKOUT} is no checkout of cht-sync, whose templates and models are needed"],
            hint=f"Run it inside of one, or name it with --project-dir DIR or {PROJECT_DIR}.",
        )
    return Path(environ.get("CHT_SYNC_HOME") or CHECKOUT).resolve()


def load(
    environment: Environment,
    *,
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    kept_secrets: Mapping[str, str] | None = None,
    read_file: bool = True,
    needs: Collection[str] | None = None,
    accepted: bool = False,
    ignoring: Collection[str] = (),
) -> Settings:
    """Read and check every setting for `environment`.

    `kept_secrets` stands in for secrets that nobody set; only `local` has such. Without `read_file`
    there is nothing but `environ`. `needs` names the variables that a single service cannot do without:
    of what the environment requires, only these are demanded then, so that the service need not be told
    the others' secrets. Of these, gamma and prod refuse weak secrets and a login in the clear, unless they
    were `accepted` before, by an environment that runs. `ignoring` names variables that count as unset.
    Raises SettingsError with one line per problem: the variable's name, and an example or what to do.
    """
    home = home or default_home(environ)
    given = _given(_from_file(home / ".env") if read_file else {}, environ)
    given = {name: text for name, text in given.items() if name not in ignoring}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for item in fields(Settings):
        if "variable" not in item.metadata:
            continue
        name, variable = item.name.upper(), _declaration(item)
        text = given.get(name)
        if not text and variable.secret and kept_secrets:
            text = kept_secrets.get(name)
        if not text and environment in variable.required and (needs is None or name in needs):
            problems.append(_problem(name, variable, f"is required for {environment}"))
            continue
        if text is None or (not text and not _empty_is_wrong(variable)):
            text = variable.default
        try:
            checks.utf_8(text)
            values[item.name] = variable.parse(text) if text or _empty_is_wrong(variable) else variable.absent
        except checks.Invalid as wrong:
            problems.append(_refused(name, variable, text, wrong))
    for name in AUTHORITIES:
        if values.get(name):
            values[name] = str(home / values[name])
    problems += _problems_of_roles(values)
    if not accepted:
        problems += _problems_of_redaction(values)
        problems += _problems_of_authorities(values)
    if environment is not Environment.LOCAL and not accepted:
        judged = {name: value for name, value in values.items() if needs is None or name.upper() in needs}
        problems += _problems_of_secrets(values, judged, environment)
        problems += _problems_of_plain_http(judged)
    if problems:
        raise SettingsError(
            problems, hint=f"Set it in {home / '.env'} or in the environment (see env.template)."
        )
    return Settings(environment=environment, home=home, given=given, **values)


def check(given: Mapping[str, str]) -> None:
    """Check texts before they are kept. Raises SettingsError with one line for each that cannot be used."""
    problems = []
    for name, variable in declared():
        try:
            if given.get(name):
                variable.parse(given[name])
        except checks.Invalid as wrong:
            problems.append(_refused(name, variable, given[name], wrong))
    if problems:
        raise SettingsError(problems)


def missing_secrets(given: Mapping[str, str]) -> dict[str, str]:
    """Make a random value for every secret that `given` lacks."""
    return {
        name: secrets.token_urlsafe(32)
        for name, variable in declared()
        if variable.secret and not variable.issued and not given.get(name)
    }


def env_template(values: Mapping[str, str] | None = None) -> str:
    """The text of `env.template`; with `values`, of a `.env` in which these are set.

    Raises SettingsError for a value that a `.env` file cannot hold.
    """
    values = values or {}
    lines = [
        "# Settings of cht-sync. Copy this file to .env, or let `cht-sync init` write it with fresh secrets.",
        "# What is commented out has the value that is shown. The process environment wins over .env.",
    ]
    group = ""
    for name, variable in declared():
        if variable.group != group:
            group = variable.group
            lines += ["", f"# --- {group} ---"]
        lines += ["", *_described(variable)]
        if name in values:
            lines.append(f"{name}={_quoted(name, values[name])}")
        else:
            lines.append(f"#{name}={variable.default}")
    return "\n".join(lines) + "\n"


def file_name(database: str) -> str:
    """A database's name as the name of a file, and as a part of a URL's path: percent-encoded."""
    return quote(database, safe="")


def _described(variable: Variable) -> Iterator[str]:
    notes = []
    if variable.required:
        notes.append("required for " + ", ".join(sorted(variable.required)))
    if variable.secret:
        notes.append("secret" if variable.issued else "secret; local makes its own")
    if variable.former_name:
        notes.append(f"formerly {variable.former_name}")
    if variable.example and variable.example != variable.default:
        notes.append(f"e.g. {variable.example}")
    yield f"# {variable.help}" + (f" ({'; '.join(notes)})" if notes else "")


def _given(from_file: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, variable in declared():
        names = [known_as for known_as in (name, variable.former_name) if known_as]
        values = [place.get(known_as) for place in (environ, from_file) for known_as in names]
        for value in values:
            if value is not None:
                found[name] = value.strip()
                break
    return found


def _from_file(file: Path) -> dict[str, str]:
    """The variables of a `.env`. A line that is none, and a name that is nearly one of ours, are refused."""
    if not file.is_file():
        return {}
    try:
        text = file.read_text()
    except OSError as error:
        raise SettingsError([f"{file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{file} is not UTF-8 text"]) from error
    known = {known_as for name, one in declared() for known_as in (name, one.former_name) if known_as}
    found: dict[str, str] = {}
    problems: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        place = f"{file}, line {binding.original.line}"
        if binding.error:
            problems.append(f"{place}: no setting; for example COUCHDB_PORT=5984 (is a quote left open?)")
        elif binding.key is not None and binding.key not in known:
            near = difflib.get_close_matches(binding.key, known, n=1, cutoff=NEARLY)
            problems += [f"{place}: {binding.key} is no setting; for example {name}=..." for name in near]
        elif binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    if problems:
        raise SettingsError(problems)
    return found


def _declaration(item: Field[Any]) -> Variable:
    variable: Variable = item.metadata["variable"]
    return variable


def _empty_is_wrong(variable: Variable) -> bool:
    return variable.parse is checks.couchdb_databases


def _problems_of_redaction(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings of redaction together; one that is wrong by itself is absent here."""
    problems = []
    removed, hashed = (set(values.get(name, ())) for name in ("redact_fields", "redact_hash_fields"))
    if both := sorted(removed & hashed):
        problems.append(f"REDACT_HASH_FIELDS contains {both[0]}, which REDACT_FIELDS removes; name it in one")
    if hashed and not values.get("redact_hash_secret", "wrong"):
        problems.append(
            "REDACT_HASH_SECRET is required with REDACT_HASH_FIELDS; "
            "for example REDACT_HASH_SECRET=a long random text"
        )
    return problems


def _problems_of_authorities(values: Mapping[str, Any]) -> list[str]:
    """Files that hold no certificates, or that nothing would look at: whoever names one wants to be safe."""
    problems = []
    without_tls = {
        "couchdb_ca_file": (values.get("couchdb_secure", True), "COUCHDB_SECURE=true"),
        "postgres_sslrootcert": (
            values.get("postgres_sslmode", "verify-").startswith("verify-"),
            "POSTGRES_SSLMODE=verify-full",
        ),
        "http_endpoint_ca_file": (values.get("http_endpoint_secure", True), "HTTP_ENDPOINT_SECURE=true"),
    }
    if values.get("http_endpoint_secure") and not values.get("http_endpoint", "wrong"):
        problems.append("HTTP_ENDPOINT_SECURE has no effect without HTTP_ENDPOINT; set that, or unset it")
    for name, (is_used, needed) in without_tls.items():
        if not (path := values.get(name)):
            continue
        if not is_used:
            problems.append(f"{name.upper()} has no effect without {needed}; set that, or unset it")
        elif problem := authorities.problem_of(Path(path)):
            problems.append(
                f"{name.upper()} {checks.shown(path)} {problem}; for containers it lies in the folder of .env"
            )
    return problems


def _problems_of_roles(values: Mapping[str, Any]) -> list[str]:
    """The roles of PostgREST and of the dashboards are no other's: what one may do, another must not."""
    database = values.get("postgres_db", "")
    own = {f"{database}_{part}" for part in ROLE_PARTS}
    examples = {"DBT_POSTGRES_USER": f"{database}_dbt", "POSTGRES_USER": "postgres"}
    return [
        f"{name} {checks.shown(role)} is a role that cht-sync makes for another purpose; "
        f"for example {name}={example}"
        for name, example in examples.items()
        if (role := values.get(name.lower())) in own
    ]


def _problems_of_secrets(
    values: Mapping[str, Any], judged: Mapping[str, Any], environment: Environment
) -> list[str]:
    """Secrets among `judged` that protect nothing; one that is wrong by itself is absent here."""
    names = [
        str(value) for name, value in values.items() if name.endswith(("_user", "postgres_db")) and value
    ]
    problems = []
    for name, variable in declared():
        secret = judged.get(name.lower())
        if not variable.secret or variable.issued or not secret:
            continue
        server = CHOSEN_ELSEWHERE.get(name)
        if name == "COUCHDB_PASSWORD" and environment is Environment.GAMMA:
            continue  # of a test CouchDB, which often has the password that all test servers have
        if server is not None and (problem := weak_secrets.well_known(secret, *names)):
            problems.append(f"{name} {problem}; change it in {server}, then here")
        elif server is None and (problem := weak_secrets.weak(secret, *names)):
            problems.append(f"{name} {problem}; make one with: openssl rand -hex 32")
    return problems


def _problems_of_plain_http(values: Mapping[str, Any]) -> list[str]:
    """A login that would be sent in the clear; nothing where one of the settings is wrong by itself."""
    host = values.get("couchdb_host", "")
    if not checks.leaves_the_network(host) or values.get("couchdb_secure", True):
        return []
    if values.get("couchdb_allow_plain_http", True):
        return []
    return [
        f"COUCHDB_SECURE=false would send the password and every document in the clear to {host}; set "
        "COUCHDB_SECURE=true, or COUCHDB_ALLOW_PLAIN_HTTP=true if others on the way may read them"
    ]


def _refused(name: str, variable: Variable, text: str, wrong: checks.Invalid) -> str:
    shown = "" if variable.secret else f"{checks.shown(text)} "
    return _problem(name, variable, f"{shown}{wrong}")


def _problem(name: str, variable: Variable, what: str) -> str:
    example = variable.example or ("a long random text" if variable.secret else "...")
    return f"{name} {what}; for example {name}={example}"


def _quoted(name: str, value: str) -> str:
    """A value as python-dotenv reads it back: plain, or in single quotes, in which `\\` and `\'` are escapes.

    A quoted value cannot end with a backslash, because the escape before the closing quote would be
    read as an escaped quote.
    """
    if re.fullmatch(r"[A-Za-z0-9_.:/@+-]*", value):
        return value
    if not value.isprintable():
        raise SettingsError([f"{name} contains what cannot be printed; .env cannot hold that"])
    if not value.endswith("\\"):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if value != value.strip() or value[0] in "'\"" or re.search(r"\s#", value):
        raise SettingsError([f"{name} needs quotes and ends with a backslash; .env cannot hold that"])
    return value
