"""Looking at reports: the newest documents, as many as were asked for, within a time limit.

Documents come by the index on their stamps, so that the cost follows the sample and not the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError
from cht_sync.transform.forms.fields import Findings

MOST_REPORTS = 5000
"""So many of a form's newest reports are read for its columns."""


@dataclass(frozen=True)
class Sample:
    """How much is looked at: that many of the newest documents, for so many seconds."""

    documents: int = 100_000
    timeout: float = 60.0


@dataclass(frozen=True)
class FormSeen:
    """A form in the sample. Times are those of the devices' clocks; None where unreadable."""

    form: str
    reports: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Seen:
    """The forms of a sample of `documents` documents; `whole` where there are no more."""

    documents: int
    whole: bool
    forms: tuple[FormSeen, ...]


_NEWEST = sql.SQL("""
    with newest as (
      select doc from {} where not _deleted order by saved_timestamp desc limit %s
    )
""")
_FORMS = sql.SQL("""
    select form, count(*), min(reported), max(reported)
    from (
      select
        case when doc ->> 'type' = 'data_record' then nullif(doc ->> 'form', '') end as form,
        case when doc ->> 'reported_date' ~ '^[0-9]{12,13}$' then (doc ->> 'reported_date')::bigint end
          as reported
      from newest
    ) as document
    group by form order by 2 desc, form
""")
_FIELDS = sql.SQL("""
    select (doc -> 'fields')::text from newest
    where doc ->> 'type' = 'data_record' and doc ->> 'form' = %s limit %s
""")


def forms_of(connection: Connection, raw_schema: str, sample: Sample) -> Seen:
    """Return the forms with reports in the sample, the most frequent first. Raises ChtSyncError."""
    query = _newest(raw_schema) + _FORMS
    with _limited(connection, sample), connection.cursor() as cursor:
        cursor.execute(query, (sample.documents,))
        rows = cursor.fetchall()
    documents = sum(count for _form, count, _first, _last in rows)
    forms = tuple(
        FormSeen(form, count, _moment(first), _moment(last))
        for form, count, first, last in rows
        if form is not None
    )
    return Seen(documents, documents < sample.documents, forms)


def fields_of(connection: Connection, raw_schema: str, form: str, sample: Sample) -> Findings:
    """Return what the newest reports of a form hold. Raises ChtSyncError where there are none."""
    query = _newest(raw_schema) + _FIELDS
    found = Findings()
    with _limited(connection, sample), connection.cursor("reports") as cursor:
        cursor.itersize = 500
        cursor.execute(query, (sample.documents, form, MOST_REPORTS))
        for (fields,) in cursor:
            found.add(fields)
    if not found.reports:
        raise ChtSyncError(
            f"no report of the form {form!r} is among the newest {sample.documents:,} documents",
            hint="Forms that are there: cht-sync forms. To look at more: --sample",
        )
    return found


def _newest(raw_schema: str) -> sql.Composed:
    return _NEWEST.format(sql.Identifier(raw_schema, "all_documents"))


def reserved_words(connection: Connection) -> frozenset[str]:
    """Return the words that PostgreSQL takes for no name without quotes. Raises psycopg2.Error."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select word from pg_get_keywords() where catcode <> 'U'")
        return frozenset(word for (word,) in cursor.fetchall())


def relations(connection: Connection, schema: str) -> frozenset[str]:
    """Return the names of all tables and views of a schema. Raises psycopg2.Error."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select relname::text from pg_class where relnamespace = to_regnamespace(quote_ident(%s))",
            (schema,),
        )
        return frozenset(name for (name,) in cursor.fetchall())


@contextmanager
def _limited(connection: Connection, sample: Sample) -> Iterator[None]:
    """One transaction that only reads, in which a statement ends with an error after the time limit."""
    autocommit, connection.autocommit = connection.autocommit, False  # as a cursor of the server's needs it
    try:
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("set transaction read only")
                cursor.execute(
                    "select set_config('statement_timeout', %s, true)", (f"{sample.timeout * 1000:.0f}",)
                )
            yield
    except psycopg2.errors.QueryCanceled as error:
        raise ChtSyncError(
            f"looking at {sample.documents:,} documents took longer than {sample.timeout:g} s",
            hint="Look at fewer, such as --sample 10000, or give it more time: --timeout",
        ) from error
    finally:
        if not connection.closed:
            connection.autocommit = autocommit


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
