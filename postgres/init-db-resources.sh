#!/bin/sh
# Creates everything that cht-sync keeps in PostgreSQL, or brings it up to date. Run it as often as
# you like: a second run changes nothing, runs at the same time wait for each other, and nothing is
# ever deleted.
#
# Run by the official image from /docker-entrypoint-initdb.d, by `cht-sync init-db` against any
# server of version 13 or newer, and by the embedded mode. The connection is libpq's (PGHOST, PGPORT,
# PGPASSWORD, PGSSLMODE; a local socket where PGHOST is unset).
#
# Read from the environment:
#   POSTGRES_USER, POSTGRES_DB     who connects, to which database; this role owns what is made
#   POSTGRES_SCHEMA (v1)           where documents live
#   POSTGRES_TABLE (couchdb)       the relation that models read
#   COUCHDB_DBS                    databases to sync, separated by spaces or commas
#   PGRST_DB_PASSWORD              of the role that PostgREST logs in with
#   DBT_POSTGRES_USER (<db>_dbt), DBT_POSTGRES_PASSWORD, DBT_POSTGRES_SCHEMA (dbt)
#   SUPERSET_DB_PASSWORD           of the read-only role for dashboards; without it, it cannot log in
#
# Values reach psql through its own environment, never through argv, and are quoted by psql and
# format(); none is pasted into SQL.
set -eu

# Called by one name before version 1 of cht-sync.
COUCHDB_DBS="${COUCHDB_DBS:-${COUCHDB_DB:-}}"

for name in POSTGRES_USER POSTGRES_DB COUCHDB_DBS PGRST_DB_PASSWORD DBT_POSTGRES_PASSWORD; do
  eval "value=\${$name:-}"
  if [ -z "$value" ]; then
    echo "init-db-resources: $name is not set (see env.template)" >&2
    exit 2
  fi
done

export POSTGRES_USER POSTGRES_DB COUCHDB_DBS PGRST_DB_PASSWORD DBT_POSTGRES_PASSWORD
export POSTGRES_SCHEMA="${POSTGRES_SCHEMA:-v1}"
export POSTGRES_TABLE="${POSTGRES_TABLE:-couchdb}"
export DBT_POSTGRES_USER="${DBT_POSTGRES_USER:-${POSTGRES_DB}_dbt}"
export DBT_POSTGRES_SCHEMA="${DBT_POSTGRES_SCHEMA:-dbt}"
export SUPERSET_DB_PASSWORD="${SUPERSET_DB_PASSWORD:-}"
export PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning"

exec psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --single-transaction \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --file - <<'SQL'
\set schema `printenv POSTGRES_SCHEMA`
\set model_table `printenv POSTGRES_TABLE`
\set databases `printenv COUCHDB_DBS`
\set dbt_role `printenv DBT_POSTGRES_USER`
\set dbt_password `printenv DBT_POSTGRES_PASSWORD`
\set dbt_schema `printenv DBT_POSTGRES_SCHEMA`
\set authenticator_password `printenv PGRST_DB_PASSWORD`
\set superset_password `printenv SUPERSET_DB_PASSWORD`
select current_database() || '_authenticator' as authenticator,
       current_database() || '_anon' as anon,
       current_database() || '_ingest' as ingest,
       current_database() || '_superset' as superset \gset

-- One run at a time.
\o /dev/null
select pg_advisory_xact_lock(hashtextextended('cht-sync init-db', 0));
\o

-- Refuse before anything is changed.
create temporary table requested on commit drop as
  select distinct name from regexp_split_to_table(:'databases', '[\s,]+') as name where name <> '';
select set_config('cht_sync.problem', coalesce((
  select string_agg(problem, '; ') from (
    select format('%s is no CouchDB database name', name) from requested
      where name !~ '^[a-z_][a-z0-9_$()+/-]*$'
    union all
    select format('%s is longer than 63 bytes', name) from requested where octet_length(name) > 63
    union all
    select format('%s is a name that cht-sync uses itself', name) from requested
      where name in ('all_documents', 'couchdb_progress', 'cht_sync_state', 'dead_letters')
    union all
    select format('POSTGRES_TABLE %s is a name that cht-sync uses itself', :'model_table')
      where :'model_table' in ('couchdb_progress', 'cht_sync_state', 'dead_letters')
    union all
    select format('POSTGRES_TABLE %s is the table of a database that is synced no longer', :'model_table')
      from pg_class join pg_namespace on pg_namespace.oid = relnamespace
      where nspname = :'schema' and relname = :'model_table' and relkind = 'r'
        and relname not in (select name from requested)
        and relname not in ('couchdb_progress', 'cht_sync_state', 'dead_letters')
    union all
    select format('POSTGRES_DB %s is too long: its roles would exceed 63 bytes', current_database())
      where octet_length(:'authenticator') > 63
  ) as found(problem)), ''), true) <> '' as refused \gset
\if :refused
  do $$ begin
    raise exception '%', current_setting('cht_sync.problem')
      using hint = 'Correct COUCHDB_DBS, POSTGRES_TABLE or POSTGRES_DB; nothing was changed.';
  end $$;
\endif

-- Roles. Only the authenticator logs in for PostgREST; it inherits nothing and becomes one of two.
select format('create role %I', role) from unnest(array[:'authenticator', :'anon', :'ingest', :'superset',
    :'dbt_role']) as role
  where not exists (select from pg_roles where rolname = role) \gexec
alter role :"anon" nologin;
alter role :"ingest" nologin;
alter role :"authenticator" login noinherit password :'authenticator_password';
-- A waiting writer gives up before PostgREST's pool does (10 s), so that writers never exhaust it.
alter role :"authenticator" set lock_timeout = '8s';
grant :"anon", :"ingest" to :"authenticator";
select format('alter role %I login password %L', :'superset', :'superset_password')
  where :'superset_password' <> '' \gexec
select format('alter role %I login password %L', :'dbt_role', :'dbt_password')
  where :'dbt_role' <> current_user \gexec
-- An owner that is no superuser must be able to become a role to make a schema for it; since
-- PostgreSQL 16 having created it is membership without that right.
select format('grant %I to current_user', :'dbt_role')
  where :'dbt_role' <> current_user and not pg_has_role(current_user, :'dbt_role',
    case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end) \gexec

create schema if not exists :"schema";
select :'dbt_schema' <> :'schema' as separate \gset
\if :separate
  create schema if not exists :"dbt_schema" authorization :"dbt_role";
\endif
revoke all on schema :"schema" from public;
grant usage on schema :"schema" to :"ingest", :"dbt_role";
select set_config('search_path', quote_ident(:'schema') || ', pg_temp', true) as path \gset

-- One row: the layout's version, and the stamp of the last transaction that wrote documents. Its row
-- lock is what puts all writers of the schema in one line.
create table if not exists cht_sync_state (
  only_row boolean primary key default true check (only_row),
  layout_version text not null,
  last_stamp timestamp not null
);
insert into cht_sync_state (layout_version, last_stamp) values ('0.1.0', '-infinity')
  on conflict (only_row) do nothing;

create table if not exists couchdb_progress (
  source text primary key,
  database text not null,
  seq text,
  pending bigint,
  updated_at timestamptz not null,
  caught_up_at timestamptz,
  held_until timestamptz not null,
  epoch bigint not null,
  batch bigint not null
);
comment on table couchdb_progress is 'How far each source was read. Written only with the data, in its transaction.';
comment on column couchdb_progress.source is '<couchdb host>/<database>';
comment on column couchdb_progress.seq is 'CouchDB''s sequence after the last stored change; opaque';
comment on column couchdb_progress.pending is 'changes that wait behind it; null where the server does not say';
comment on column couchdb_progress.caught_up_at is 'when nothing was pending for the last time';
comment on column couchdb_progress.held_until is 'until when no other source and no foreign writer may write to this table';
comment on column couchdb_progress.epoch is 'grows with each writer that takes over; older ones are refused';
comment on column couchdb_progress.batch is 'grows with each request of one writer';

create table if not exists dead_letters (
  id bigint generated always as identity primary key,
  fingerprint text not null unique,
  source text not null,
  database text not null,
  doc_id text,
  rev text,
  seq text,
  code text not null,
  reason text not null,
  document text,
  at timestamptz not null default clock_timestamp()
);
comment on table dead_letters is 'Changes that could not become a row, with the reason.';
comment on column dead_letters.fingerprint is 'of the change: delivered twice, it is one dead letter';
comment on column dead_letters.document is 'what was received, as text';

-- Before each statement on a table of documents. Once a transaction: take the line and the stamp.
-- Once a transaction and table: from the request's headers (PostgREST gives them to us), the writer's
-- position, or for a writer without them the question whether the table is free.
create or replace function begin_write() returns trigger
  language plpgsql security definer set search_path from current as $body$
declare
  stamp timestamp;
  headers json;
  writer text;
  moment timestamptz := clock_timestamp();
  this_transaction text := pg_current_xact_id()::text;
  begun text[] := string_to_array(current_setting('cht_sync.begun', true), ' ');
begin
  -- The transaction, then the tables that it has begun to write to.
  if begun[1] is distinct from this_transaction then
    -- Whoever comes second waits here until the first has committed and can be seen. In READ COMMITTED
    -- the row is then read anew; in stricter modes the statement fails instead of using an old stamp.
    update cht_sync_state
      set last_stamp = greatest(moment at time zone 'UTC', last_stamp + interval '1 microsecond')
      returning last_stamp into strict stamp;
    perform set_config('cht_sync.stamp', to_char(stamp, 'YYYY-MM-DD HH24:MI:SS.US'), true);
    begun := array[this_transaction];
    moment := clock_timestamp();
  elsif tg_relid::text = any(begun[2:]) then
    return null;  -- INSERT ... ON CONFLICT DO UPDATE fires for both commands
  end if;

  headers := nullif(current_setting('request.headers', true), '')::json;
  writer := headers ->> 'cht-sync-source';

  if exists (select from couchdb_progress as p
      where p.database = tg_table_name and p.source is distinct from writer and p.held_until > moment) then
    raise exception 'the table % is held by another writer', tg_table_name using errcode = 'PT409',
      hint = 'Stop that pipeline first; the hold ends with its regular stop, or five minutes after its last sign of life.';
  end if;

  if writer is not null then
    if substring(writer from position('/' in writer) + 1) <> tg_table_name then
      raise exception 'source % does not belong to table %', writer, tg_table_name using errcode = 'PT400';
    end if;
    -- A failed conversion would have a code that blames the documents.
    if headers ->> 'cht-sync-epoch' ~ '^[0-9]{1,18}$' is not true
        or headers ->> 'cht-sync-batch' ~ '^[0-9]{1,18}$' is not true
        or headers ->> 'cht-sync-pending' ~ '^[0-9]{1,18}$' is false
        or headers ->> 'cht-sync-after' ~ '^[0-9]{1,18}$' is false then
      raise exception 'the headers of source % hold no position', writer using errcode = 'PT400',
        hint = 'cht-sync-epoch and cht-sync-batch are needed; these, cht-sync-pending and cht-sync-after are whole numbers.';
    end if;
    -- A writer says which of its requests it knows to be stored. If that one is not here, an earlier state
    -- of the database has been restored, and going on from the writer's position would leave a gap.
    if headers ->> 'cht-sync-after' is not null and not exists (select from couchdb_progress as p
        where p.source = writer and (p.epoch, p.batch)
          >= ((headers ->> 'cht-sync-epoch')::bigint, (headers ->> 'cht-sync-after')::bigint)) then
      raise exception 'the position of % was put back', writer using errcode = 'PT409',
        hint = 'The database holds an earlier state, as after a restore; the writer begins again from its position.';
    end if;
    insert into couchdb_progress as p
        (source, database, seq, pending, updated_at, caught_up_at, held_until, epoch, batch)
      values (writer, tg_table_name, headers ->> 'cht-sync-seq', (headers ->> 'cht-sync-pending')::bigint,
        moment, case when headers ->> 'cht-sync-pending' = '0' then moment end,
        case when headers ->> 'cht-sync-release' = 'true' then moment else moment + interval '5 minutes' end,
        (headers ->> 'cht-sync-epoch')::bigint, (headers ->> 'cht-sync-batch')::bigint)
      on conflict (source) do update set
        seq = coalesce(excluded.seq, p.seq),
        pending = case when excluded.seq is null then p.pending else excluded.pending end,
        updated_at = excluded.updated_at,
        caught_up_at = coalesce(excluded.caught_up_at, p.caught_up_at),
        held_until = excluded.held_until,
        epoch = excluded.epoch,
        batch = excluded.batch
      where (excluded.epoch, excluded.batch) > (p.epoch, p.batch);
    if not found then
      raise exception 'another writer has taken over %', writer using errcode = 'PT409',
        hint = 'Only the newest writer of a source may write; this one is older, or its request came too late.';
    end if;
  end if;

  perform set_config('cht_sync.source', coalesce(writer, ''), true),
          set_config('cht_sync.begun', array_to_string(begun || tg_relid::text, ' '), true);
  return null;
end $body$;

-- For each row: a replay changes nothing; anything else gets the stamp of its transaction.
create or replace function stamp_row() returns trigger language plpgsql as $body$
begin
  new._deleted := coalesce(new._deleted, false);
  if tg_op = 'UPDATE' then
    if new._rev is not distinct from old._rev and new._deleted = old._deleted
        and new.doc is not distinct from old.doc then
      return null;
    end if;
  end if;
  new.saved_timestamp := current_setting('cht_sync.stamp')::timestamp;
  -- Models of 2023 follow "@timestamp" as newer ones follow saved_timestamp, so both are the stamp.
  new."@timestamp" := new.saved_timestamp at time zone 'UTC';
  new.source := coalesce(nullif(current_setting('cht_sync.source'), ''), new.source);
  return new;
end $body$;
revoke execute on function begin_write(), stamp_row() from public;

-- POSTGRES_TABLE may have been a view over all databases before a database got that name.
select format('drop view %I', name) from requested join pg_class on relname = name
  where relnamespace = quote_ident(:'schema')::regnamespace and relkind = 'v' \gexec

-- A table for each database. "C" order of _id is the order of its bytes, on every machine.
select format($make$
    create table if not exists %1$I (
      _id text collate "C" primary key,
      _rev text,
      doc jsonb,
      "@timestamp" timestamptz,
      "@version" text,
      doc_as_upsert boolean,
      _deleted boolean not null default false,
      saved_timestamp timestamp not null,
      source text
    );
    grant select, insert, update on %1$I to %2$I;
    grant select on %1$I to %3$I;
  $make$, name, :'ingest', :'dbt_role')
  from requested order by name \gexec
select format('create trigger %1$I before insert or update on %2$I for each %3$s execute function %1$I()',
    trigger_name, name, level)
  from requested, (values ('begin_write', 'statement'), ('stamp_row', 'row')) as triggers(trigger_name, level)
  where not exists (select from pg_trigger
    where tgrelid = format('%I', name)::regclass and tgname = trigger_name)
  order by name, trigger_name \gexec
-- PostgreSQL names the index: a name of ours could be taken where long names begin alike.
select format('create index on %I (saved_timestamp)', name) from requested
  where not exists (select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indrelid = format('%I', name)::regclass and attname = 'saved_timestamp')
  order by name \gexec
-- lz4 halves the time that large documents take, where the server was built with it. Only once: the
-- statement would wait for all who read the table, and all who write would wait for it.
select format('alter table %I alter column doc set compression lz4', name) from requested
  where exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any(enumvals))
    and exists (select from pg_attribute as a where attrelid = format('%I', name)::regclass
      and attname = 'doc' and to_jsonb(a) ->> 'attcompression' is distinct from 'l')
  order by name \gexec

-- One view over all of them; and under POSTGRES_TABLE, where that names no database.
select format('create or replace view %I as ', view_name) || string_agg(format(
    'select _id, _rev, doc, "@timestamp", "@version", doc_as_upsert, _deleted, saved_timestamp, source from %I',
    requested.name), ' union all ' order by requested.name)
  from requested, (select 'all_documents' union select :'model_table') as views(view_name)
  where view_name not in (select name from requested)
  group by view_name order by view_name \gexec
select format('grant select on %I to %I', view_name, :'dbt_role')
  from (values ('all_documents'), (:'model_table')) as views(view_name) \gexec

grant select on couchdb_progress to :"ingest", :"dbt_role";
grant select, insert on dead_letters to :"ingest";
grant select on dead_letters, cht_sync_state to :"dbt_role";
\if :separate
  grant usage on schema :"dbt_schema" to :"superset";
  grant select on all tables in schema :"dbt_schema" to :"superset";
  alter default privileges for role :"dbt_role" in schema :"dbt_schema" grant select on tables to :"superset";
\else
  -- Models beside the documents: dbt makes them, dashboards read what is dbt's and nothing else.
  grant create on schema :"schema" to :"dbt_role";
  grant usage on schema :"schema" to :"superset";
  select format('grant select on %s to %I', pg_class.oid::regclass, :'superset') from pg_class
    where relnamespace = quote_ident(:'schema')::regnamespace and relkind in ('r', 'v', 'm')
      and pg_get_userbyid(relowner) = :'dbt_role' and :'dbt_role' <> current_user \gexec
  select format('alter default privileges for role %I in schema %I grant select on tables to %I',
      :'dbt_role', :'schema', :'superset')
    where :'dbt_role' <> current_user \gexec
\endif

notify pgrst, 'reload schema';
SQL
