"""The relations and functions that couch2pg had, over the documents of cht-sync.

Names, columns, their order and types are those of couch2pg's last release: a dashboard sees no difference.
One document that couch2pg could not read (a date that is none) made its whole refresh fail; here its
value is null. Source: the migrations of medic/couch2pg and medic/cht-couch2pg.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.migrate.old import OF_COUCH2PG, table_of

Kind = Literal["function", "view", "materialized view"]

_NONE = "select null::jsonb as doc where false"
SECOND = "-sentinel"
"""Ends the name of a database that shares a table with the one that it accompanies, and no id of interest."""

_BLANKS = r"[ \t\n\v\f\r]*"
_WHOLE_NUMBER = "[+-]?[0-9]+"
_ANY_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
_MOST_LETTERS = 256
"""Of a number; with them, PostgreSQL's type numeric holds all that have one of these forms."""
_FIRST, _LAST = -210866803200000, 9223372036854000
"""Milliseconds since 1970 that PostgreSQL's timestamps and intervals hold."""


@dataclass(frozen=True)
class BuiltIn:
    """A thing of couch2pg's. `query` is that of a view, or all that makes a function.

    `indexes` are the columns by the name of the index, and whether it is unique.
    """

    name: str
    kind: Kind
    query: str
    indexes: tuple[tuple[str, str, bool], ...] = ()

    @property
    def made_of(self) -> str:
        """What is other once anything of it is."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def create(self) -> str:
        """The statement that makes it where it is missing; a function also where it is there."""
        return self.query if self.kind == "function" else f"create {self.kind} {self.name} as {self.query}"

    def create_index(self, index: str) -> str:
        ((columns, unique),) = [(columns, unique) for name, columns, unique in self.indexes if name == index]
        return f"create {'unique ' if unique else ''}index {index} on {self.name} ({columns})"


def built_in(cursor: Cursor, schema: str, databases: Sequence[str]) -> list[BuiltIn]:
    """All of it, each after what it reads; `schema` is that of the documents. Nothing is executed."""
    shared = {name: [one for one in databases if table_of(one) == name] for name in OF_COUCH2PG}
    return [
        *_functions(),
        *(BuiltIn(name, "view", _living(cursor, schema, shared[name])) for name in OF_COUCH2PG),
        *_of_contacts(_once(shared["couchdb"])),
        *_of_users(_once(shared["couchdb_users_meta"])),
    ]


def names(parts: Collection[BuiltIn]) -> Mapping[str, BuiltIn]:
    """Views by their name."""
    return {part.name: part for part in parts if part.kind != "function"}


def _living(cursor: Cursor, schema: str, databases: Sequence[str]) -> str:
    living = sql.SQL("select doc from {} where not _deleted")
    parts = [living.format(sql.Identifier(schema, one)) for one in databases]
    if len(parts) == 1:
        # A view of one table could be written through, with the rights of its owner; one of two cannot.
        parts.append(sql.SQL(_NONE).format())
    return sql.SQL(" union all ").join(parts).as_string(cursor) or _NONE


def _once(databases: Sequence[str]) -> str:
    """In several databases of one relation an id may be twice, which an index of couch2pg's forbids."""
    several = [one for one in databases if not one.endswith(SECOND)]
    return "distinct on (doc ->> '_id')" if len(several) > 1 else ""


def _filled(text: str, **parts: str) -> str:
    """The text with each @name@ replaced by the part of that name."""
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _number(text: str) -> str:
    """The text as a number; null where it is none, never an error."""
    return f"case when {_is(text, _ANY_NUMBER)} then ({text})::numeric end"


def _number_within(text: str, form: str, kind: str, first: int, last: int) -> str:
    """As `_number`, in a range that the kind can hold."""
    return (
        f"case when {_is(text, form)} then "
        f"case when ({text})::numeric between {first} and {last} then ({text})::{kind} end end"
    )


def _is(text: str, form: str) -> str:
    # A bound within the pattern would make it many times slower.
    return f"length({text}) < {_MOST_LETTERS} and {text} ~ '^{_BLANKS}{form}{_BLANKS}$'"


def _functions() -> Iterator[BuiltIn]:
    yield BuiltIn("refresh_matviews()", "function", _REFRESH_MATVIEWS)
    yield BuiltIn("get_telemetry_date(text,text,text,text)", "function", _GET_TELEMETRY_DATE)
    yield BuiltIn("cht_sync_telemetry_date(text,text,text,text)", "function", _TELEMETRY_DATE)


def _of_contacts(once: str) -> Iterator[BuiltIn]:
    reported = "doc ->> 'reported_date'"
    moment = _number_within(reported, _ANY_NUMBER, "numeric", _FIRST, _LAST)
    yield BuiltIn(
        "raw_contacts",
        "view",
        """
        select doc from couchdb
        where doc ->> 'type' in ('contact', 'clinic', 'district_hospital', 'health_center', 'person')
        """,
    )
    yield BuiltIn(
        "contactview_metadata",
        "materialized view",
        _filled(
            """
        select @once@
          doc ->> '_id' as uuid,
          doc ->> 'name' as name,
          doc ->> 'type' as type,
          doc ->> 'contact_type' as contact_type,
          doc #>> '{contact,_id}' as contact_uuid,
          doc #>> '{parent,_id}' as parent_uuid,
          doc ->> 'notes' as notes,
          timestamptz 'epoch' + (@moment@) / 1000 * interval '1 second' as reported
        from raw_contacts
        """,
            moment=moment,
            once=once,
        ),
        (
            ("contactview_metadata_uuid", "uuid", True),
            ("contactview_metadata_contact_uuid", "contact_uuid", False),
            ("contactview_metadata_parent_uuid", "parent_uuid", False),
            ("contactview_metadata_type", "type", False),
        ),
    )
    yield BuiltIn(
        "contactview_hospital",
        "view",
        "select uuid, name from contactview_metadata where type = 'district_hospital'",
    )
    yield BuiltIn(
        "contactview_person_fields",
        "view",
        """
        select
          person.doc ->> '_id' as uuid,
          person.doc ->> 'phone' as phone,
          person.doc ->> 'alternative_phone' as phone2,
          person.doc ->> 'date_of_birth' as date_of_birth,
          place.doc ->> 'type' as parent_type
        from raw_contacts as person
        left join raw_contacts as place on place.doc ->> '_id' = person.doc #>> '{parent,_id}'
        where person.doc ->> 'type' = 'person'
        """,
    )
    yield BuiltIn(
        "contactview_chw",
        "view",
        """
        select
          worker.name,
          person.uuid,
          person.phone,
          person.phone2,
          person.date_of_birth,
          person.parent_type,
          area.uuid as area_uuid,
          area.parent_uuid as branch_uuid
        from contactview_person_fields as person
        join contactview_metadata as worker on worker.uuid = person.uuid
        join contactview_metadata as area on area.uuid = worker.parent_uuid
        where person.parent_type = 'health_center'
        """,
    )
    yield BuiltIn(
        "contactview_clinic",
        "view",
        """
        select clinic.uuid, clinic.name, worker.uuid as chw_uuid, clinic.reported as created
        from contactview_metadata as clinic
        join contactview_chw as worker on worker.area_uuid = clinic.parent_uuid
        where clinic.type = 'clinic'
        """,
    )
    yield BuiltIn(
        "contactview_clinic_person",
        "view",
        """
        select
          doc ->> '_id' as uuid,
          doc ->> 'name' as name,
          doc ->> 'type' as type,
          doc #>> '{parent,_id}' as family_uuid,
          doc ->> 'phone' as phone,
          doc ->> 'alternative_phone' as phone2,
          doc ->> 'date_of_birth' as date_of_birth,
          family.type as parent_type
        from raw_contacts
        left join contactview_metadata as family on family.uuid = doc #>> '{parent,_id}'
        where doc ->> 'type' = 'person'
          and doc ->> '_id' in (select contact_uuid from contactview_metadata where type = 'clinic')
        """,
    )
    moment = _number_within(reported, _WHOLE_NUMBER, "bigint", _FIRST, _LAST)
    yield BuiltIn(
        "form_metadata",
        "materialized view",
        _filled(
            """
        select @once@
          doc ->> '_id' as uuid,
          doc #>> '{contact,_id}' as chw,
          doc #>> '{contact,parent,_id}' as chw_area,
          doc ->> 'form' as formname,
          timestamp 'epoch' + (@moment@) * interval '1 millisecond' as reported
        from couchdb
        where doc ->> 'type' = 'data_record' and doc ->> 'form' is not null
        """,
            moment=moment,
            once=once,
        ),
        (
            ("form_metadata_uuid", "uuid", True),
            ("form_metadata_chw", "chw", False),
            ("form_metadata_reported", "reported", False),
            ("form_metadata_formname", "formname", False),
        ),
    )


def _of_users(once: str) -> Iterator[BuiltIn]:
    date_of = "(doc #>> '{metadata,versions,app}', doc #>> '{metadata,year}', doc #>> '{metadata,month}',"
    date_of += " doc #>> '{metadata,day}')"
    yield BuiltIn(
        "useview_feedback",
        "materialized view",
        _filled(
            """
        select @once@
          doc ->> '_id' as uuid,
          doc #>> '{meta,source}' as source,
          doc #>> '{meta,url}' as url,
          doc #>> '{meta,user,name}' as user_name,
          doc #>> '{meta,time}' as period_start,
          coalesce(doc #>> '{info,cause}', doc ->> 'info') as cause,
          doc #>> '{info,message}' as message
        from couchdb_users_meta
        where doc ->> 'type' = 'feedback'
        """,
            once=once,
        ),
        (
            ("idx_useview_feedback_uuid", "uuid", True),
            ("idx_useview_feedback_period_start_user", "period_start, user_name", False),
        ),
    )
    yield BuiltIn(
        "useview_telemetry",
        "materialized view",
        _filled(
            """
        select @once@
          doc ->> '_id' as uuid,
          cht_sync_telemetry_date@date_of@ as period_start,
          doc #>> '{metadata,user}' as user_name,
          doc #>> '{metadata,versions,app}' as app_version,
          doc #>> '{metrics,boot_time,min}' as boot_time_min,
          doc #>> '{metrics,boot_time,max}' as boot_time_max,
          doc #>> '{metrics,boot_time,count}' as boot_time_count,
          doc #>> '{dbInfo,doc_count}' as doc_count_on_local_db
        from couchdb_users_meta
        where doc ->> 'type' = 'telemetry'
        """,
            date_of=date_of,
            once=once,
        ),
        (
            ("idx_useview_telemetry_uuid", "uuid", True),
            ("idx_useview_telemetry_period_start_user", "period_start, user_name", False),
        ),
    )
    # The last column of the order is ours: of two documents of one day the same one is always taken.
    yield BuiltIn(
        "useview_telemetry_devices",
        "materialized view",
        _filled(
            """
        select distinct on (doc #>> '{metadata,deviceId}', doc #>> '{metadata,user}')
          doc ->> '_id' as telemetry_doc_id,
          doc #>> '{metadata,deviceId}' as device_id,
          doc #>> '{metadata,user}' as user_name,
          get_telemetry_date@date_of@ as period_start,
          doc #>> '{device,deviceInfo,hardware,manufacturer}' as device_manufacturer,
          doc #>> '{device,deviceInfo,hardware,model}' as device_model,
          doc #>> '{dbInfo,doc_count}' as doc_count,
          doc #>> '{device,userAgent}' as user_agent,
          doc #>> '{device,deviceInfo,app,version}' as cht_android_version,
          doc #>> '{device,deviceInfo,software,androidVersion}' as android_version,
          doc #>> '{device,deviceInfo,storage,free}' as storage_free,
          doc #>> '{device,deviceInfo,storage,total}' as storage_total,
          doc #>> '{device,deviceInfo,network,upSpeed}' as network_up_speed,
          doc #>> '{device,deviceInfo,network,downSpeed}' as network_down_speed
        from couchdb_users_meta
        where doc ->> 'type' = 'telemetry'
        order by 2, 3, 4, 1
        """,
            date_of=date_of,
        ),
        (("useview_telemetry_devices_device_user", "device_id, user_name", True),),
    )
    columns = [f"{_number(f'figures.{name}')} as {name}" for name in ("min", "max", "sum", "sumsqr")]
    count = _number_within("figures.count", _WHOLE_NUMBER, "bigint", -(2**63), 2**63 - 1)
    columns.insert(3, f"{count} as count")
    yield BuiltIn(
        "useview_telemetry_metrics",
        "materialized view",
        _filled(
            """
        with telemetry as materialized (
          select @once@
            doc ->> '_id' as telemetry_doc_id,
            get_telemetry_date@date_of@ as period_start,
            doc #>> '{metadata,user}' as user_name,
            doc #>> '{metadata,deviceId}' as device_id,
            case when jsonb_typeof(doc -> 'metrics') = 'object' then doc -> 'metrics' end as metrics
          from couchdb_users_meta
          where doc ->> 'type' = 'telemetry'
        )
        select telemetry_doc_id, metric.key as metric, period_start, user_name, device_id, @columns@
        from telemetry
        cross join lateral jsonb_each(metrics) as metric
        cross join lateral jsonb_to_record(
          case when jsonb_typeof(metric.value) = 'object' then metric.value end
        ) as figures(min text, max text, sum text, count text, sumsqr text)
        """,
            columns=", ".join(columns),
            date_of=date_of,
            once=once,
        ),
        (
            ("useview_telemetry_metrics_docid_metric", "telemetry_doc_id, metric", True),
            ("useview_telemetry_metrics_period_start", "period_start", False),
            ("useview_telemetry_metrics_device_id", "device_id", False),
            ("useview_telemetry_metrics_user_name", "user_name", False),
        ),
    )


_REFRESH_MATVIEWS = """
create or replace function refresh_matviews() returns integer
  language plpgsql security definer
  set search_path = pg_catalog, couch2pg, pg_temp set row_security = off as $body$
declare
  stored record;
  time_limit constant interval := current_setting('statement_timeout')::interval;
  in_time boolean := true;
begin
  -- Who comes second waits, and refreshes once more: it may know of documents that the first did not see.
  perform pg_advisory_xact_lock(hashtextextended('cht-sync couch2pg refresh', 0));
  for stored in
      with recursive reading(oid, level) as (
        select oid, 0 from pg_class where relnamespace = 'couch2pg'::regnamespace and relkind in ('v', 'm')
        union
        select ev_class, level + 1 from reading
          join pg_depend on refclassid = 'pg_class'::regclass and refobjid = reading.oid
            and classid = 'pg_rewrite'::regclass
          join pg_rewrite on pg_rewrite.oid = objid and ev_class <> reading.oid
      )
      select relname as name, relispopulated and exists (select from pg_index where indrelid = oid
          and indisunique and indisvalid and indimmediate and indpred is null
          and 0 <> all (indkey::smallint[])) as beside_readers
        from reading join pg_class using (oid)
        where relnamespace = 'couch2pg'::regnamespace and relkind = 'm'
        group by oid, relname, relispopulated
        order by relname <> 'contactview_metadata', max(level), relname loop
    begin
      execute format('refresh materialized view %s couch2pg.%I',
        case when stored.beside_readers then 'concurrently' end, stored.name);
    exception
      when query_canceled then
        -- A limit strikes once in a statement, and must not undo the others; who cancels means them all.
        if not in_time or time_limit = interval '0'
            or clock_timestamp() < statement_timestamp() + time_limit then
          raise;
        end if;
        in_time := false;
        raise warning '%: %', stored.name, sqlerrm;
      when others then
        -- One that cannot be read must not keep the others old.
        raise warning '%: %', stored.name, sqlerrm;
    end;
  end loop;
  return 1;
end $body$
"""

_GET_TELEMETRY_DATE = """
create or replace function get_telemetry_date(app_version text, year text, month text, day text)
  returns date language plpgsql immutable set search_path = pg_catalog, pg_temp as $body$
begin
  if coalesce(year, '') = '' then
    return null;
  end if;
  -- Before 3.8.0 the app counted months from zero, and wrote no day.
  if coalesce(day, '') = '' and (coalesce(app_version, '') = ''
      or string_to_array(substring(app_version from '\\d+.\\d+.\\d+'), '.')::int[] < array[3, 8, 0]) then
    month := month::int + 1;
  end if;
  return concat_ws('-', year, month, coalesce(nullif(day, ''), '1'))::date;
exception when data_exception then
  return null;
end $body$
"""

_TELEMETRY_DATE = """
create or replace function cht_sync_telemetry_date(app_version text, year text, month text, day text)
  returns date language plpgsql immutable set search_path = pg_catalog, pg_temp as $body$
begin
  -- As couch2pg's useview_telemetry reads it: otherwise than get_telemetry_date where the version or the day
  -- is missing.
  return concat_ws('-', year, month::int
      + case when string_to_array(substring(app_version from '\\d+.\\d+.\\d+'), '.')::int[] < array[3, 8, 0]
          then 1 else 0 end,
    coalesce(day, '1'))::date;
exception when data_exception then
  return null;
end $body$
"""
