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
\set layout 0.2.0
\set recorded 0
select to_regclass(format('%I.cht_sync_state', :'schema')) is not null as recorded_layout \gset
\if :recorded_layout
  select layout_version as recorded from :"schema".cht_sync_state \gset
\endif
select string_to_array(:'recorded', '.')::int[] < string_to_array(:'layout', '.')::int[] as outdated \gset
create temporary table reserved on commit drop as
  select name from unnest(array['couchdb_progress', 'cht_sync_state', 'dead_letters', 'replaced_values']) as name;
create temporary table requested on commit drop as
  select distinct name from regexp_split_to_table(:'databases', '[\s,]+') as name where name <> '';
select set_config('cht_sync.problem', coalesce((
  select string_agg(problem, '; ') from (
    select format('schema %s was made by version %s, which is newer than this one, %s', :'schema', :'recorded',
        :'layout')
      where string_to_array(:'recorded', '.')::int[] > string_to_array(:'layout', '.')::int[]
    union all
    select format('%s is no CouchDB database name', name) from requested
      where name !~ '^[a-z_][a-z0-9_$()+/-]*$'
    union all
    select format('%s is longer than 63 bytes', name) from requested where octet_length(name) > 63
    union all
    select format('%s is a name that cht-sync uses itself', name) from requested
      where name = 'all_documents' or name in (select name from reserved)
    union all
    select format('POSTGRES_TABLE %s is a name that cht-sync uses itself', :'model_table')
      where :'model_table' in (select name from reserved)
    union all
    select format('POSTGRES_TABLE %s is the table of a database that is synced no longer', :'model_table')
      from pg_class join pg_namespace on pg_namespace.oid = relnamespace
      where nspname = :'schema' and relname = :'model_table' and relkind = 'r'
        and relname not in (select name from requested)
        and relname not in (select name from reserved)
    union all
    select format('POSTGRES_DB %s is too long: its roles would exceed 63 bytes', current_database())
      where octet_length(:'authenticator') > 63
  ) as found(problem)), ''), true) <> '' as refused \gset
\if :refused
  do $$ begin
    raise exception '%', current_setting('cht_sync.problem')
      using hint = 'Correct COUCHDB_DBS, POSTGRES_TABLE or POSTGRES_DB, or use the newer version; nothing was changed.';
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

-- Writers lock their table, then the state, the progress and the letters. An upgrade waits for them where
-- they begin; taken in any other order, its locks and theirs could wait for each other.
select format('lock table %s in share row exclusive mode', tgrelid::regclass)
  from pg_trigger join pg_class on pg_class.oid = tgrelid
  where relnamespace = quote_ident(:'schema')::regnamespace and tgname = 'begin_write' and :'outdated'
  order by relname \gexec

-- One row: the layout's version, and the stamp of the last transaction that wrote documents. Its row
-- lock is what puts all writers of the schema in one line.
create table if not exists cht_sync_state (
  only_row boolean primary key default true check (only_row),
  layout_version text not null,
  last_stamp timestamp not null
);
insert into cht_sync_state (layout_version, last_stamp) values (:'layout', '-infinity')
  on conflict (only_row) do nothing;
update cht_sync_state set layout_version = :'layout' where layout_version <> :'layout';

create table if not exists couchdb_progress (
  source text primary key,
  database text not null,
  seq text,
  pending bigint,
  updated_at timestamptz not null,
  caught_up_at timestamptz,
  held_until timestamptz not null,
  epoch bigint not null,
  batch bigint not null,
  server_uuid text,
  instance_start_time text,
  rereading boolean not null default false,
  problem text
);

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
  at timestamptz not null default clock_timestamp(),
  closed_at timestamptz,
  closed_by text
);

create table if not exists replaced_values (
  id bigint generated always as identity primary key,
  fingerprint text not null unique,
  source text not null,
  database text not null,
  doc_id text not null,
  rev text,
  seq text,
  replaced integer not null,
  original text not null,
  at timestamptz not null default clock_timestamp()
);

-- What the layout of 0.1.0 lacked; new columns come last there, and so they do above.
select format('alter table %I add column %I %s', table_name, column_name, kind)
  from (values
    (1, 'couchdb_progress', 'server_uuid', 'text'),
    (2, 'couchdb_progress', 'instance_start_time', 'text'),
    (3, 'couchdb_progress', 'rereading', 'boolean not null default false'),
    (4, 'couchdb_progress', 'problem', 'text'),
    (5, 'dead_letters', 'closed_at', 'timestamptz'),
    (6, 'dead_letters', 'closed_by', 'text')) as added(place, table_name, column_name, kind)
  where not exists (select from pg_attribute
    where attrelid = format('%I', table_name)::regclass and attname = column_name)
  order by place \gexec

comment on table couchdb_progress is 'How far each source was read. Written only with the data, in its transaction.';
comment on column couchdb_progress.source is '<couchdb host>/<database>';
comment on column couchdb_progress.seq is 'CouchDB''s sequence after the last stored change; opaque';
comment on column couchdb_progress.pending is 'changes that wait behind it; null where the server does not say';
comment on column couchdb_progress.caught_up_at is 'when nothing was pending for the last time';
comment on column couchdb_progress.held_until is 'until when no other source and no foreign writer may write to this table';
comment on column couchdb_progress.epoch is 'grows with each writer that takes over; older ones are refused';
comment on column couchdb_progress.batch is 'grows with each request of one writer';
comment on column couchdb_progress.server_uuid is 'of the CouchDB that the position belongs to; null = not known yet';
comment on column couchdb_progress.instance_start_time is 'of the database there: another one means that it was made anew';
comment on column couchdb_progress.rereading is 'a replaced database is read from its start; rows that it lacks are still to become tombstones';
comment on column couchdb_progress.problem is 'why nothing is read, in one line; null when all is well';

comment on table dead_letters is 'Changes that could not become a row, with the reason.';
comment on column dead_letters.fingerprint is 'of the change: delivered twice, it is one dead letter';
comment on column dead_letters.document is 'what was received, as text';
comment on column dead_letters.closed_at is 'when it was settled; null = open';
comment on column dead_letters.closed_by is 'stored: a later write of the document was; dropped: an operator said so';
comment on table replaced_values is 'Documents that were stored with U+FFFD where jsonb cannot hold what they had.';
comment on column replaced_values.replaced is 'in how many places';
comment on column replaced_values.original is 'the document as received, as text';
-- A document's name may be longer than an entry of a btree.
select 'create index on dead_letters using hash (doc_id) where closed_at is null'
  where not exists (select from pg_index join pg_class as i on i.oid = indexrelid join pg_am on pg_am.oid = relam
    where indrelid = 'dead_letters'::regclass and amname = 'hash') \gexec
select 'create index on dead_letters (database) where closed_at is null'
  where not exists (select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indrelid = 'dead_letters'::regclass and attname = 'database') \gexec

-- The text of a header: HTTP carries no more than ASCII safely. Undecodable text is left as it is, since a
-- failure would have a code that blames the documents.
create or replace function percent_decoded(encoded text) returns text language plpgsql immutable as $body$
begin
  return (select convert_from(string_agg(case when part[1] ~ '^%..' then decode(substr(part[1], 2), 'hex')
        else convert_to(part[1], 'UTF8') end, ''::bytea order by place), 'UTF8')
    from regexp_matches(encoded, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') with ordinality as _(part, place));
exception when character_not_in_repertoire then
  return encoded;
end $body$;

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

  -- A repair, over a connection of the owner's, writes beside the living pipeline; nobody who comes
  -- through PostgREST can set this.
  if current_setting('cht_sync.repair', true) is distinct from this_transaction
      and exists (select from couchdb_progress as p where p.database = tg_table_name and p.source is distinct from writer and p.held_until > moment) then
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
        or headers ->> 'cht-sync-after' ~ '^[0-9]{1,18}$' is false
        or headers ->> 'cht-sync-rereading' ~ '^(true|false)$' is false then
      raise exception 'the headers of source % hold no position', writer using errcode = 'PT400',
        hint = 'cht-sync-epoch and cht-sync-batch are needed; these, cht-sync-pending and cht-sync-after are whole '
          'numbers, cht-sync-rereading is true or false.';
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
        (source, database, seq, pending, updated_at, caught_up_at, held_until, epoch, batch,
          server_uuid, instance_start_time, rereading, problem)
      values (writer, tg_table_name, headers ->> 'cht-sync-seq', (headers ->> 'cht-sync-pending')::bigint,
        moment, case when headers ->> 'cht-sync-pending' = '0' then moment end,
        case when headers ->> 'cht-sync-release' = 'true' then moment else moment + interval '5 minutes' end,
        (headers ->> 'cht-sync-epoch')::bigint, (headers ->> 'cht-sync-batch')::bigint,
        headers ->> 'cht-sync-server-uuid', headers ->> 'cht-sync-instance-start-time',
        coalesce(headers ->> 'cht-sync-rereading' = 'true', false), percent_decoded(headers ->> 'cht-sync-problem'))
      on conflict (source) do update set
        seq = coalesce(excluded.seq, p.seq),
        pending = case when excluded.seq is null then p.pending else excluded.pending end,
        updated_at = excluded.updated_at,
        caught_up_at = coalesce(excluded.caught_up_at, p.caught_up_at),
        held_until = excluded.held_until,
        epoch = excluded.epoch,
        batch = excluded.batch,
        server_uuid = coalesce(excluded.server_uuid, p.server_uuid),
        instance_start_time = coalesce(excluded.instance_start_time, p.instance_start_time),
        rereading = coalesce(headers ->> 'cht-sync-rereading' = 'true', p.rereading),
        problem = excluded.problem
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

-- After each statement: what was stored settles the dead letters of its documents. A replay stores nothing.
create or replace function end_write() returns trigger
  language plpgsql security definer set search_path from current as $body$
begin
  if exists (select from dead_letters where database = tg_table_name and closed_at is null) then
    execute format($close$
        update dead_letters as letter set closed_at = clock_timestamp(), closed_by = 'stored'
          from %I as stored
          where stored.saved_timestamp = $1 and letter.doc_id = stored._id
            and letter.database = $2 and letter.closed_at is null
      $close$, tg_table_name) using current_setting('cht_sync.stamp')::timestamp, tg_table_name;
  end if;
  return null;
end $body$;

-- Before each dead letter: one that was settled and comes again is open again, and still one. Done here, so
-- that who writes letters needs no right to change them.
create or replace function reopen_letter() returns trigger
  language plpgsql security definer set search_path from current as $body$
begin
  update dead_letters set closed_at = null, closed_by = null
    where fingerprint = new.fingerprint and closed_at is not null;
  return case when not found then new end;
end $body$;
select 'create trigger reopen_letter before insert on dead_letters for each row execute function reopen_letter()'
  where not exists (select from pg_trigger
    where tgrelid = 'dead_letters'::regclass and tgname = 'reopen_letter') \gexec
revoke execute on function percent_decoded(text), begin_write(), stamp_row(), end_write(), reopen_letter()
  from public;

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
select format('create trigger %1$I %2$s insert or update on %3$I for each %4$s execute function %1$I()',
    trigger_name, moment, name, level)
  from requested, (values ('begin_write', 'before', 'statement'), ('stamp_row', 'before', 'row'),
    ('end_write', 'after', 'statement')) as triggers(trigger_name, moment, level)
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
grant select, insert on dead_letters, replaced_values to :"ingest";
grant select on dead_letters, replaced_values, cht_sync_state to :"dbt_role";
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
