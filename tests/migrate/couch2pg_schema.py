"""What couch2pg makes of a PostgreSQL, in words of our own: its tables, views and functions, with its faults.

Source: the migrations of medic/couch2pg and medic/cht-couch2pg, whose last state this is. A document that is
not as expected fails here as it does there.
"""

from __future__ import annotations

TABLES = """
create table couchdb (doc jsonb);
create unique index couchdb_doc_uuid on couchdb ((doc ->> '_id'));
create index couchdb_doc_type on couchdb ((doc ->> 'type'));
create table couchdb_users_meta (doc jsonb);
create table couchdb_medic_logs (doc jsonb);
create table couchdb_medic_users (doc jsonb);
create table couchdb_progress (seq varchar, source varchar not null);
create unique index couchdb_progress_source on couchdb_progress (source);
"""

CONTACTS = """
create view raw_contacts as select * from couchdb
  where doc ->> 'type' = any ('{contact,clinic,district_hospital,health_center,person}');

create materialized view contactview_metadata as
  select doc ->> '_id' uuid, doc ->> 'name' "name", doc ->> 'type' "type",
    doc ->> 'contact_type' contact_type,
    doc #>> '{contact,_id}' contact_uuid, doc #>> '{parent,_id}' parent_uuid, doc ->> 'notes' notes,
    'epoch'::timestamptz + (doc ->> 'reported_date')::numeric / 1000 * '1 second'::interval reported
  from raw_contacts;
create unique index contactview_metadata_uuid on contactview_metadata (uuid);
create index contactview_metadata_contact_uuid on contactview_metadata (contact_uuid);
create index contactview_metadata_parent_uuid on contactview_metadata (parent_uuid);
create index contactview_metadata_type on contactview_metadata (type);

create view contactview_hospital as
  select m.uuid, m.name from contactview_metadata m where m.type = 'district_hospital';
create view contactview_person_fields as
  select p.doc ->> '_id' uuid, p.doc ->> 'phone' phone, p.doc ->> 'alternative_phone' phone2,
    p.doc ->> 'date_of_birth' date_of_birth, above.doc ->> 'type' parent_type
  from raw_contacts p left join raw_contacts above on p.doc #>> '{parent,_id}' = above.doc ->> '_id'
  where p.doc ->> 'type' = 'person';
create view contactview_chw as
  select c.name, f.*, a.uuid area_uuid, a.parent_uuid branch_uuid
  from contactview_person_fields f, contactview_metadata c, contactview_metadata a
  where c.uuid = f.uuid and c.parent_uuid = a.uuid and f.parent_type = 'health_center';
create view contactview_clinic as
  select m.uuid, m.name, c.uuid chw_uuid, m.reported created
  from contactview_metadata m, contactview_chw c where m.parent_uuid = c.area_uuid and m.type = 'clinic';
create view contactview_clinic_person as
  select r.doc ->> '_id' uuid, r.doc ->> 'name' "name", r.doc ->> 'type' "type",
    r.doc #>> '{parent,_id}' family_uuid,
    r.doc ->> 'phone' phone, r.doc ->> 'alternative_phone' phone2, r.doc ->> 'date_of_birth' date_of_birth,
    m.type parent_type
  from raw_contacts r left join contactview_metadata m on r.doc #>> '{parent,_id}' = m.uuid
  where r.doc ->> 'type' = 'person'
    and r.doc ->> '_id' in (select contact_uuid from contactview_metadata where type = 'clinic');

create materialized view form_metadata as
  select d.doc ->> '_id' uuid, d.doc #>> '{contact, _id}' chw, d.doc #>> '{contact, parent, _id}' chw_area,
    d.doc ->> 'form' formname,
    'epoch'::timestamp + (d.doc ->> 'reported_date')::bigint * '1 millisecond'::interval reported
  from couchdb d where d.doc ->> 'type' = 'data_record' and d.doc ? 'form' and d.doc ->> 'form' is not null;
create unique index form_metadata_uuid on form_metadata (uuid);
create index form_metadata_chw on form_metadata (chw);
create index form_metadata_reported on form_metadata (reported);
create index form_metadata_formname on form_metadata (formname);
"""

USERS = r"""
create function get_telemetry_date(app_version text, year text, month text, day text) returns date
  language sql immutable parallel safe as $$
    select (year || '-' || case
        when (day = '') is not false and ((app_version = '') is not false
          or substring(app_version, '(\d+.\d+.\d+)') is not null
            and string_to_array(substring(app_version, '(\d+.\d+.\d+)'), '.')::int[] < '{3,8,0}')
        then (month::int + 1)::text else month end || '-' || coalesce(nullif(day, ''), '1'))::date
      where (year = '') is false
  $$;

create materialized view useview_feedback as
  select doc ->> '_id' uuid, doc #>> '{meta,source}' source, doc #>> '{meta,url}' url,
    doc #>> '{meta,user,name}' user_name, doc #>> '{meta,time}' period_start,
    coalesce(doc #>> '{info,cause}', doc ->> 'info') cause, doc #>> '{info,message}' message
  from couchdb_users_meta where doc ->> 'type' = 'feedback';
create unique index idx_useview_feedback_uuid on useview_feedback (uuid);
create index idx_useview_feedback_period_start_user on useview_feedback (period_start, user_name);

create materialized view useview_telemetry as
  select doc ->> '_id' uuid,
    concat_ws('-', doc #>> '{metadata,year}',
      (doc #>> '{metadata,month}')::int + case when
        string_to_array(substring(doc #>> '{metadata,versions,app}', '(\d+.\d+.\d+)'), '.')::int[] < '{3,8,0}'
        then 1 else 0 end,
      coalesce(doc #>> '{metadata,day}', '1'))::date period_start,
    doc #>> '{metadata,user}' user_name, doc #>> '{metadata,versions,app}' app_version,
    doc #>> '{metrics,boot_time,min}' boot_time_min, doc #>> '{metrics,boot_time,max}' boot_time_max,
    doc #>> '{metrics,boot_time,count}' boot_time_count, doc #>> '{dbInfo,doc_count}' doc_count_on_local_db
  from couchdb_users_meta where doc ->> 'type' = 'telemetry';
create unique index idx_useview_telemetry_uuid on useview_telemetry (uuid);
create index idx_useview_telemetry_period_start_user on useview_telemetry (period_start, user_name);

create materialized view useview_telemetry_devices as
  select distinct on (doc #>> '{metadata,deviceId}', doc #>> '{metadata,user}')
    doc #>> '{_id}' telemetry_doc_id, doc #>> '{metadata,deviceId}' device_id,
    doc #>> '{metadata,user}' user_name,
    get_telemetry_date(doc #>> '{metadata,versions,app}', doc #>> '{metadata,year}',
      doc #>> '{metadata,month}',      doc #>> '{metadata,day}') period_start,
    doc #>> '{device,deviceInfo,hardware,manufacturer}' device_manufacturer,
    doc #>> '{device,deviceInfo,hardware,model}' device_model, doc #>> '{dbInfo,doc_count}' doc_count,
    doc #>> '{device,userAgent}' user_agent, doc #>> '{device,deviceInfo,app,version}' cht_android_version,
    doc #>> '{device,deviceInfo,software,androidVersion}' android_version,
    doc #>> '{device,deviceInfo,storage,free}' storage_free,
    doc #>> '{device,deviceInfo,storage,total}' storage_total,
    doc #>> '{device,deviceInfo,network,upSpeed}' network_up_speed,
    doc #>> '{device,deviceInfo,network,downSpeed}' network_down_speed
  from couchdb_users_meta where doc ->> 'type' = 'telemetry' order by 2, 3, 4;
create unique index useview_telemetry_devices_device_user on useview_telemetry_devices (device_id, user_name);

create materialized view useview_telemetry_metrics as
  select d.doc #>> '{_id}' telemetry_doc_id, m.key metric,
    get_telemetry_date(doc #>> '{metadata,versions,app}', doc #>> '{metadata,year}',
      doc #>> '{metadata,month}',      doc #>> '{metadata,day}') period_start,
    doc #>> '{metadata,user}' user_name, doc #>> '{metadata,deviceId}' device_id, r.*
  from couchdb_users_meta d, jsonb_each(d.doc -> 'metrics') m,
    jsonb_to_record(m.value) as r(min numeric, max numeric, sum numeric, count bigint, sumsqr numeric)
  where doc ->> 'type' = 'telemetry';
create unique index useview_telemetry_metrics_docid_metric
  on useview_telemetry_metrics (telemetry_doc_id, metric);
create index useview_telemetry_metrics_period_start on useview_telemetry_metrics (period_start);
create index useview_telemetry_metrics_device_id on useview_telemetry_metrics (device_id);
create index useview_telemetry_metrics_user_name on useview_telemetry_metrics (user_name);
"""

REFRESH = """
create function refresh_matviews() returns integer language plpgsql as $$
declare
  one name;
begin
  for one in select matviewname from pg_matviews order by matviewname <> 'contactview_metadata' loop
    execute format('refresh materialized view concurrently %I', one);
  end loop;
  return 1;
end $$;
"""

SCHEMA = TABLES + CONTACTS + USERS + REFRESH

VIEWS = (
    "raw_contacts",
    "contactview_metadata",
    "contactview_hospital",
    "contactview_person_fields",
    "contactview_chw",
    "contactview_clinic",
    "contactview_clinic_person",
    "form_metadata",
    "useview_feedback",
    "useview_telemetry",
    "useview_telemetry_devices",
    "useview_telemetry_metrics",
)
MATERIALISED = (
    "contactview_metadata",
    "form_metadata",
    "useview_feedback",
    "useview_telemetry",
    "useview_telemetry_devices",
    "useview_telemetry_metrics",
)
TABLES_OF_DOCUMENTS = ("couchdb", "couchdb_users_meta", "couchdb_medic_logs", "couchdb_medic_users")
