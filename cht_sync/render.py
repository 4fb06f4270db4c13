"""Jinja templates in, Logstash configuration out: one file per database, and the list of them.

Secrets never pass through here. What is rendered holds `${VARIABLES}`, which the engine replaces
when it starts.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import jinja2

from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.files import write_atomically
from cht_sync.settings import CHECKOUT, Settings, file_name

TEMPLATES = CHECKOUT / "logstash" / "pipeline"
READABLE = 0o644
"""There is no secret inside, and a container reads it as another user."""


def render(settings: Settings, *, engine: str) -> dict[str, str]:
    """Return the files of a Logstash settings folder: relative path to text.

    `engine` is "native" (ours) or "logstash" (only what Elastic's Logstash 8 accepts). Undefined
    names in a template are errors. Raises SettingsError for what `engine` cannot do.
    """
    if engine == "logstash" and settings.couchdb_seq != "0":
        raise SettingsError(
            ["COUCHDB_SEQ=now is not possible with PIPELINE_ENGINE=logstash: its input takes numbers only"],
            hint="Use PIPELINE_ENGINE=native, or COUCHDB_SEQ=0.",
        )
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (a configuration, no HTML; names of databases are checked by settings)
    )
    pipeline = templates.get_template("pipeline.conf.j2")
    names = [{"database": database, "file": file_name(database)} for database in settings.couchdb_dbs]
    files = {
        f"pipeline/{name['file']}.conf": pipeline.render(
            engine=engine,
            database=name["database"],
            file=name["file"],
            # The original input puts `db` into the path as it is, so it is encoded here.
            database_path=f"{settings.couchdb_path.strip('/')}/{name['file']}".lstrip("/"),
            table_path=name["file"],
            source=settings.source(name["database"]),
            secure=str(settings.couchdb_secure).lower(),
            couchdb_authority=settings.couchdb_secure and bool(settings.couchdb_ca_file),
            endpoint_scheme="https" if _is_secure(settings) else "http",
            endpoint_authority=_is_secure(settings) and bool(settings.http_endpoint_ca_file),
            begin_now=settings.couchdb_seq == "now",
            batch_size=settings.pipeline_batch_size,
            ingest_role=settings.ingest_role,
            removed_fields=[_reference(path) for path in settings.redact_fields],
            hashed_fields=[_reference(path) for path in settings.redact_hash_fields],
        )
        for name in names
    }
    files["pipelines.yml"] = templates.get_template("pipelines.yml.j2").render(pipelines=names)
    # Logstash's word for text.
    log_format = "json" if settings.log_format == "json" else "plain"
    files["logstash.yml"] = (CHECKOUT / "logstash" / "logstash.yml").read_text() + (
        f"log.format: {log_format}\nlog.level: {settings.log_level}\n"
    )
    return files


def variables(settings: Settings) -> dict[str, str]:
    """What the `${VARIABLES}` in the rendered files of our own engine stand for."""
    return {
        "COUCHDB_HOST": settings.couchdb_host,
        "COUCHDB_PORT": str(settings.couchdb_port),
        "COUCHDB_USER": settings.couchdb_user,
        "COUCHDB_PASSWORD": settings.couchdb_password,
        "HTTP_ENDPOINT": settings.http_endpoint or f"127.0.0.1:{settings.postgrest_port}",
        "PGRST_JWT_SECRET": settings.pgrst_jwt_secret,
        "REDACT_HASH_SECRET": settings.redact_hash_secret,
        "COUCHDB_CA_FILE": settings.couchdb_ca_file,
        "HTTP_ENDPOINT_CA_FILE": settings.http_endpoint_ca_file,
    }


def _is_secure(settings: Settings) -> bool:
    """Whether rows travel by https: the PostgREST that is started here is near, and speaks http."""
    return bool(settings.http_endpoint) and settings.http_endpoint_secure


def _reference(path: str) -> str:
    """The field of an event for a path inside of its document: `[doc][contact][phone]`."""
    return "".join(f"[{name}]" for name in ("doc", *path.split(".")))


def write(files: dict[str, str], folder: Path) -> None:
    """Write rendered files into `folder`; configurations of databases that are gone are removed.

    Raises ChtSyncError when the folder cannot be written.
    """
    try:
        (folder / "pipeline").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_atomically(folder / name, text, mode=READABLE)
        for old in (folder / "pipeline").glob("*.conf"):
            if f"pipeline/{old.name}" not in files:
                old.unlink()
    except OSError as error:
        raise ChtSyncError(f"{folder} cannot be written: {error.strerror}") from error


def differences(files: dict[str, str], folder: Path) -> list[str]:
    """Name the files in `folder` that are missing, stale or left over."""
    found = [
        name for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]  # fmt: skip
    left = [f"pipeline/{old.name}" for old in (folder / "pipeline").glob("*.conf")]
    return sorted(found + [name for name in left if name not in files])


def unified_diff(files: dict[str, str], folder: Path, name: str) -> str:
    """Return how one file in `folder` would change, as `diff -u` does; an absent file counts as empty."""
    try:
        there = (folder / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        there = ""
    wanted = files.get(name, "")
    names = (str(folder / name), f"rendered {name}")
    lines = difflib.unified_diff(there.splitlines(), wanted.splitlines(), *names, lineterm="")
    return "".join(f"{line}\n" for line in lines)
