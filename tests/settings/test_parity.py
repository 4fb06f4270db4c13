"""docs/coming-from-couch2pg.md leaves nothing of earlier programs out, and names nothing here that is not.

The lists are of their sources: cht-couch2pg 3.7 (`env.js`, `couch2pg-entrypoint.sh`, `docker-compose.yml`,
migrations), couch2pg 0.8 (`env.js`), cht-sync 2.0 and 1.0 to 1.3 (`env.template`, `docker-compose*.yml`,
`couch2pg/src`, `dbt/dbt-run.py`, `deploy/cht_sync`), and its commits of 2022 to June 2024.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import yaml

from cht_sync.cli import main
from cht_sync.settings import CHECKOUT, declared
from cht_sync.transform.forms.names import INTERNAL_TABLES

PAGE = CHECKOUT / "docs" / "coming-from-couch2pg.md"
TEXT = PAGE.read_text()

SETTINGS = {
    "couch2pg": """
        COUCHDB_URL POSTGRESQL_URL COUCH2PG_DOC_LIMIT COUCH2PG_CHANGES_LIMIT COUCH2PG_SLEEP_MINS
        COUCH2PG_RETRY_COUNT COUCH2PG_USERS_META_DOC_LIMIT COUCH2PG_DEBUG V0_4_MODE SYNC_DB_MEDIC
        SYNC_DB_SENTINEL SYNC_DB_USER_META SYNC_DB_LOGS SYNC_DB_USERS COUCH2PG_USER
        COUCH2PG_USER_PASSWORD POSTGRES_SERVER_NAME POSTGRES_USER_NAME POSTGRES_PASSWORD
        POSTGRES_DB_NAME POSTGRES_PORT DB_OWNER_GROUP WAIT_THRESHOLD SLEEP_SECONDS
        TEST_PG_URL TEST_COUCH_URL PG_PORT PG_PASS COUCH_PORT COUCH_ADMIN COUCH_PASS INT_PG_HOST INT_PG_PORT
        INT_PG_USER INT_PG_PASS INT_PG_DB INT_COUCHDB_URL
    """,
    "cht-sync 2 and 1": """
        POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB POSTGRES_SCHEMA POSTGRES_TABLE POSTGRES_HOST
        POSTGRES_PORT ROOT_POSTGRES_SCHEMA CHT_PIPELINE_BRANCH_URL DATAEMON_INTERVAL
        DBT_THREAD_COUNT DBT_BATCH_SIZE DBT_LOCAL_PATH DBT_SELECTOR DBT_PACKAGE_TARBALL_URL
        COUCHDB_USER COUCHDB_PASSWORD COUCHDB_DBS COUCHDB_HOST COUCHDB_PORT COUCHDB_SECURE
        COUCHDB_SECRET COUCHDB_UUID COMPOSE_PROJECT_NAME BASTION_PORT BASTION_AUTHORIZED_KEYS_FILE
        LISTEN_ADDRESS LISTEN_PORT TRUSTED_USER_CA_KEYS HOST_KEYS_PATH HOST_KEYS_PATH_PREFIX
        PGADMIN_DEFAULT_EMAIL PGADMIN_DEFAULT_PASSWORD PGADMIN_PORT PGADMIN_CONFIG_SERVER_MODE
        BATCH_SIZE POSTGRES_TABLES
    """,
    "with Logstash": """
        COUCHDB_DB COUCHDB_SEQ HTTP_ENDPOINT POSTGREST_ENDPOINT PGRST_DB_URI PGRST_DB_SCHEMA
        PGRST_DB_ANON_ROLE DBT_POSTGRES_USER DBT_POSTGRES_PASSWORD DBT_POSTGRES_SCHEMA
        DBT_POSTGRES_HOST DATAEMON_INITAL_PACKAGE SUPERSET_PASSWORD SUPERSET_ADMIN_EMAIL REDIS_HOST
        REDIS_PORT REDIS_KEY REDIS_BATCH_SIZE URL DOCS_PATH
    """,
}
OTHERS = {
    "options": """
        -i --doc-limit --changes-limit --postgres-table -d --daemon -v --verbose --version --help
        --databases --environment --force --start
    """,
    "functions of the library": "migrator importer importAll importBatch storeSeq replicate-medic",
    "relations of couch2pg": """
        couchdb couchdb_progress couchdb_users_meta couchdb_medic_logs couchdb_medic_users
        couch2pg_migrations xmlforms_migrations users_meta_migrations couchdb_doc_uuid
        couchdb_doc_type couchdb_progress_source raw_contacts contactview_metadata
        contactview_hospital contactview_person_fields contactview_chw contactview_clinic
        contactview_clinic_person form_metadata useview_feedback useview_telemetry
        useview_telemetry_devices useview_telemetry_metrics refresh_matviews() get_telemetry_date()
    """,
    "relations of cht-sync 2": "_dataemon dbt_results document_metadata",
    "metrics": """
        couch2pg_progress_sequence couch2pg_progress_pending couch2pg_up dbt_latency
        dbt_execution_time
    """,
    "services and profiles": """
        couch2pg dbt-production dbt-local dbt-test-contacts dbt-test-reports postgres couchdb
        pgadmin bastion local test production logstash postgrest superset generator bootstrap
        _couchdb_bootstrap _couchdb_bootstrap_users postgres_bootstrap redis redis-worker
        superset-backup
    """,
    "files": """
        docker-compose.couchdb.yml docker-compose.postgres.yml docker-compose.pgadmin.yml
        docker-compose.bastion.yml docker-compose.postgrest.yml docker-compose.override.yml
        add-manifest-and-source.sh upgrade-84-monitoring.sh
    """,
    "values of the Helm chart": """
        postgres.enabled postgres.user postgres.password postgres.db postgres.schema postgres.table
        postgres.host postgres.port postgres.cpu_limit postgres.memory_limit couch2pg.cpu_limit
        couch2pg.memory_limit dbt.cpu_limit dbt.memory_limit image_tag couchdb.user couchdb.dbs
        couchdb.port couchdb.secure couchdbs cht_pipeline_branch_url dbt_thread_count dbt_batch_size
        dbt_selectors metrics_exporter.enabled medic_ingress.enabled medic_ingress.host
        medic_ingress.hosted_zone_id medic_ingress.load_balancer medic_ingress.annotations
    """,
}
UPPER = re.compile(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+|URL")
CODE = re.compile(r"`([^`]+)`")
RELATION = re.compile(r"\b(v1|dbt)\.\"?([\w-]+)")
NO_OURS = frozenset({"COUCHDB_URL", "POSTGRESQL_URL"})
"""Named where it is told what is not so here."""
FOREIGN = ("docker compose", "git ", "ssh ")
"""Programs whose options are not ours."""


def rows() -> Iterator[list[str]]:
    """The cells of each row of the tables, without their heads."""
    for line in TEXT.splitlines():
        if line.startswith("|") and not re.match(r"\|( there|---| \| there)", line):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def there() -> set[str]:
    """What the cells say of the earlier programs: names, whole or the first word of what is shown."""
    codes = [code for *cells, _here in rows() for cell in cells for code in CODE.findall(cell)]
    return {word for code in codes for word in (code, code.split()[0].rstrip(":"))}


def here() -> list[str]:
    """What the last cells say, which is of ours."""
    return [code for *_cells, cell in rows() for code in CODE.findall(cell)]


@pytest.mark.parametrize("program", SETTINGS)
def test_every_setting_of_an_earlier_program_is_on_the_page(program: str) -> None:
    assert set(SETTINGS[program].split()) - there() == set()


@pytest.mark.parametrize("kind", OTHERS)
def test_everything_else_of_the_earlier_programs_is_on_the_page(kind: str) -> None:
    assert set(OTHERS[kind].split()) - there() == set()


def test_each_row_says_what_it_is_here() -> None:
    assert [cells for cells in rows() if len(cells) < 2 or not all(cells)] == []


def test_the_settings_that_are_named_as_ours_exist() -> None:
    known = {name for name, _variable in declared()}
    named = {name for code in here() for name in UPPER.findall(code)}
    assert named - known - NO_OURS == set()


def test_the_steps_name_our_settings() -> None:
    steps = TEXT.split("## How to move\n", 1)[1].split("\n## ", 1)[0]
    named = {name for code in CODE.findall(steps) for name in UPPER.findall(code)}
    assert named - {name for name, _variable in declared()} == {"DBT_SELECTOR"}


def test_the_relations_that_are_named_as_ours_exist() -> None:
    script = (CHECKOUT / "postgres" / "init-db-resources.sh").read_text()
    databases = set(re.findall(r"[\w-]+", "medic medic-sentinel medic-users-meta medic-logs _users"))
    models = {path.stem for path in (CHECKOUT / "dbt/packages/cht_pipeline/models").rglob("*.sql")}
    named = {found for code in here() for found in RELATION.findall(code)}
    assert ("dbt", "contact") in named
    for schema, name in sorted(named):
        if schema == "dbt":
            assert name in models | set(INTERNAL_TABLES), name
        else:
            assert name in databases or re.search(rf"\b{name}\b", script), name


def test_the_options_that_are_named_as_ours_exist() -> None:
    main.import_all()
    known = {"--help", "--version"}
    groups: list[click.Command] = [main]
    while groups:
        command = groups.pop()
        known |= {option for parameter in command.params for option in parameter.opts}
        if isinstance(command, click.Group):
            groups += command.commands.values()
    named = {
        word for code in here() if not code.startswith(FOREIGN) for word in code.split() if word[:2] == "--"
    }
    assert named - known == set()


def test_the_services_and_profiles_that_are_named_as_ours_exist() -> None:
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    section = TEXT.split("### Compose and tools\n", 1)[1].split("\n### ", 1)[0]
    services = compose["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())}
    for line in section.splitlines():
        cells = line.strip("|").split(" | ")
        for name in CODE.findall(cells[-1]) if line.startswith("| `") or line.startswith("| service") else ():
            if re.fullmatch(r"[a-z-]+", name) and name != "make":
                assert name in services or name in profiles, name


def test_the_pages_that_it_leads_to_are_there_with_their_headings() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _hash, anchor = target.partition("#")
        text = TEXT if not name else (PAGE.parent / name).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target
