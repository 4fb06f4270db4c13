#!/bin/sh
# Creates everything that cht-sync keeps in PostgreSQL, or brings an older layout up to date, in one
# transaction. Run it as often as you like: a second run changes nothing, and runs at the same time wait
# for each other. What it did is told on standard output, a line for each thing; nothing when all was
# there. Nothing is deleted but, from tables of 2023, what is not the newest revision of a document.
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
#   COUCHDB_HOST                   may be unset; tables of 2023 do not know where their rows came from
#   PGRST_DB_PASSWORD              of the role that PostgREST logs in with
#   DBT_POSTGRES_USER (<db>_dbt), DBT_POSTGRES_PASSWORD, DBT_POSTGRES_SCHEMA (dbt)
#   SUPERSET_DB_PASSWORD           of the read-only role for dashboards; without it, it cannot log in
#   SUPERSET_METADATA_PASSWORD     of the role that owns Superset's own tables; without it, there is no such role
#
# Who connects needs the right to make roles (createrole) only where roles are missing or must change, and has
# become no member of them; an administrator may have made them (cht-sync init-db --print-sql).
#
# Values reach psql through its own environment, never through argv, and are quoted by psql and
# format(); none is pasted into SQL.
# In a process of its own: the official image takes a script that is not executable into its own shell, which
# has more to do afterwards.
(
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
export COUCHDB_HOST="${COUCHDB_HOST:-}"
export SUPERSET_DB_PASSWORD="${SUPERSET_DB_PASSWORD:-}"
export SUPERSET_METADATA_PASSWORD="${SUPERSET_METADATA_PASSWORD:-}"
export PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning"

psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --set SHOW_CONTEXT=never --single-transaction \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --file - <<'SQL'
\set schema `printenv POSTGRES_SCHEMA`
\set model_table `printenv POSTGRES_TABLE`
\set databases `printenv COUCHDB_DBS`
\set couchdb_host `printenv COUCHDB_HOST`
\set dbt_role `printenv DBT_POSTGRES_USER`
\set dbt_password `printenv DBT_POSTGRES_PASSWORD`
\set dbt_schema `printenv DBT_POSTGRES_SCHEMA`
\set authenticator_password `printenv PGRST_DB_PASSWORD`
\set superset_password `printenv SUPERSET_DB_PASSWORD`
\set metadata_password `printenv SUPERSET_METADATA_PASSWORD`
\set metadata_schema superset_metadata

-- == Settings ==

-- Nothing is looked up where others may make functions and operators: not here, and not in functions that
-- run with the owner's rights. Hence schemas are named.
set local search_path = pg_catalog, pg_temp;
select current_database() || '_authenticator' as authenticator,
       current_database() || '_anon' as anon,
       current_database() || '_ingest' as ingest,
       current_database() || '_superset' as superset,
       current_database() || '_superset_metadata' as metadata,
       :'metadata_password' <> '' as with_metadata \gset

-- One run at a time, however long the other takes. For other locks there is an end: who comes later queues
-- behind us.
\o /dev/null
select pg_advisory_xact_lock(hashtextextended('cht-sync init-db', 0));
select set_config('lock_timeout', '100s', true) where current_setting('lock_timeout') = '0';
\o
create temporary table report (place serial, line text) on commit drop;

-- == What is there, and what is wanted ==

-- Which layout is there.
\set layout 0.4.0
\set recorded 0
select set_config('cht_sync.schema', :'schema', true) as schema \gset
-- What is in a schema that may not be used cannot even be asked for.
do $$ declare
  problem text := (
    select format('the schema %I, which POSTGRES_SCHEMA names, belongs to %I, and %I may not use it', nspname,
        pg_get_userbyid(nspowner), current_user)
      from pg_namespace where nspname = current_setting('cht_sync.schema') and not has_schema_privilege(oid, 'usage'));
begin
  if problem is not null then
    raise exception '%', problem using hint = format('Where that is the schema of cht-sync 2, give POSTGRES_SCHEMA another '
      'name: docs/migrating.md, "cht-sync 2: two schemas". Else let its owner, or a superuser, run: grant all on '
      'schema %I to %I with grant option', current_setting('cht_sync.schema'), current_user);
  end if;
end $$;
create function pg_temp.relation(name text) returns regclass language sql stable as
  $body$ select to_regclass(format('%I.%I', current_setting('cht_sync.schema'), name)) $body$;
select pg_temp.relation('cht_sync_state') is not null as has_layout \gset
\if :has_layout
  select layout_version as recorded from :"schema".cht_sync_state \gset
\endif
select string_to_array(:'recorded', '.')::int[] < string_to_array(:'layout', '.')::int[] as outdated,
       string_to_array(:'recorded', '.')::int[] > string_to_array(:'layout', '.')::int[] as newer \gset
create temporary table reserved on commit drop as
  select name from unnest(array['couchdb_progress', 'cht_sync_state', 'dead_letters', 'replaced_values', 'cht_sync_loads',
    'cht_sync_load_chunks', 'cht_sync_heartbeats', 'cht_sync_migrations']) as name;
create temporary table requested on commit drop as
  select distinct name from regexp_split_to_table(:'databases', '[\s,]+') as name where name <> '';
create temporary table present on commit drop as
  select pg_class.oid, relname as name, relkind,
      exists (select from pg_trigger where tgrelid = pg_class.oid and tgname = 'begin_write') as ours,
      relkind = 'v' and columns = '{_id,_rev,doc,@timestamp,@version,doc_as_upsert,_deleted,saved_timestamp,source}'
        as our_view,
      relkind = 'r' and columns @> '{@version,@timestamp,_id,_rev,doc,doc_as_upsert}'
        and not columns @> '{saved_timestamp}' and exists (select from pg_attribute
          where attrelid = pg_class.oid and attname = 'doc' and atttypid = 'jsonb'::regtype) as of_2023
    from pg_class, lateral (select array(select attname::text from pg_attribute
      where attrelid = pg_class.oid and attnum > 0 and not attisdropped order by attnum)) as _(columns)
    where relnamespace = to_regnamespace(quote_ident(:'schema'))
      and relname in (select name from requested union all values ('all_documents'), (:'model_table'));

-- == Of 2023: which tables are upgraded, and what reads them ==

-- A table of 2023 that bears POSTGRES_TABLE's name and no database's is that of the only database.
create function pg_temp.has_rows(regclass) returns boolean language plpgsql as $body$
declare
  answer boolean;
begin
  if not pg_has_role((select relowner from pg_class where oid = $1), 'usage') then
    return false;  -- refused below, by its owner
  end if;
  execute format('lock table %s in share mode', $1);  -- none are written before it is dropped
  execute format('select exists (select from %s)', $1) into answer;
  return answer;
end $body$;
create temporary table renamed on commit drop as
  select old.oid, old.name as old_name, requested.name, target.oid as target,
      case when target.relkind in ('r', 'p') then pg_temp.has_rows(target.oid) else target.oid is not null end as taken
    from present as old cross join requested left join present as target on target.name = requested.name
    where old.of_2023 and old.name = :'model_table' and old.name not in (select name from requested);

-- What reads a relation that changes its kind or its columns' types must be taken down and made again.
create temporary table upgraded on commit drop as
  select oid, name from present where of_2023 and name in (select name from requested)
    and name not in (select name from renamed)
  union all select oid, name from renamed;
create temporary table dependents on commit drop as
  with recursive reading(oid, level) as (
    select oid, 0 from upgraded
    union select target, 0 from renamed where target is not null
    union select oid, 0 from present where our_view and name in (select name from requested)
    union select ev_class, level + 1 from reading
      join pg_depend on refclassid = 'pg_class'::regclass and refobjid = reading.oid
        and classid = 'pg_rewrite'::regclass
      join pg_rewrite on pg_rewrite.oid = objid and ev_class <> reading.oid
  )
  select oid, max(level) as level, oid in (select oid from present where our_view) as our_view
    from reading group by oid having max(level) > 0;

-- == Which tables join others ==

-- Tables that join others which readers of all_documents have seen already.
create temporary table seen on commit drop as
  select distinct refobjid as oid from pg_rewrite join pg_depend on objid = pg_rewrite.oid
    where classid = 'pg_rewrite'::regclass and refclassid = 'pg_class'::regclass
      and ev_class = pg_temp.relation('all_documents') and refobjid <> ev_class
      and not exists (select from renamed where target = refobjid);
create temporary table joining on commit drop as
  select oid, name from (select oid, name from present where ours and name in (select name from requested)
      union select oid, name from upgraded) as known
    where exists (select from seen) and oid not in (select oid from seen);

-- == Refusals, before anything is changed ==

select set_config('cht_sync.problem', coalesce((
  select string_agg(problem, '; ') from (
    select format('schema %s was made by version %s, which is newer than this one, %s', :'schema', :'recorded',
        :'layout')
      where :'newer'
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
    select format('%s is the name of %s in schema %s: no table can have it', name,
        case relkind when 'S' then 'a sequence' else 'an index' end, :'schema')
      from present where relkind in ('i', 'I', 'S')
    union all
    select format('%s will be the name of an index or a sequence of %s: no table can have it', wanted.name, made.name)
      from (select name from requested union values (:'model_table')) as wanted(name)
        join (select name, true from requested union select name, false from reserved) as made(name, documents)
          on wanted.name in (left(made.name, 58) || '_pkey', left(made.name, 43) || '_saved_timestamp_idx')
            or not documents and wanted.name in (made.name || '_id_seq', made.name || '_fingerprint_key',
              made.name || '_doc_id_idx', made.name || '_database_idx')
      where wanted.name not in (select name from present)
    union all
    select format('%s is longer than 63 bytes: %s', setting, value)
      from (values ('DBT_POSTGRES_USER', :'dbt_role'), ('POSTGRES_SCHEMA', :'schema'),
        ('DBT_POSTGRES_SCHEMA', :'dbt_schema'), ('POSTGRES_TABLE', :'model_table')) as given(setting, value)
      where octet_length(value) > 63
    union all
    select format('COUCHDB_DBS names no database') where not exists (select from requested)
    union all
    select format('%I.%I is published by %s, and what is removed from it cannot be told there: alter table %1$I.%2$I '
        'replica identity full, and run this again', :'schema', upgraded_name, string_agg(quote_ident(pubname), ', '))
      from (select relname, oid, relreplident from pg_class where oid in (select oid from upgraded))
          as published(upgraded_name, oid, identity)
        join pg_publication_tables on schemaname = :'schema' and tablename = upgraded_name
        join pg_publication using (pubname)
      where (pubdelete or pubupdate) and (identity = 'n' or identity = 'd' and not exists (
        select from pg_index where indrelid = published.oid and indisprimary))
      group by upgraded_name
    union all
    select format('POSTGRES_DB %s is too long: its roles would exceed 63 bytes', current_database())
      where octet_length(:'authenticator') > 63 or :'with_metadata' and octet_length(:'metadata') > 63
    union all
    select format('%s is the schema of Superset''s own tables: choose another %s', value, setting)
      from (values ('POSTGRES_SCHEMA', :'schema'), ('DBT_POSTGRES_SCHEMA', :'dbt_schema')) as given(setting, value)
      where :'with_metadata' and value = :'metadata_schema'
    union all
    select format('schema %I belongs to %I, and must belong to %I: let %2$I, or a superuser, run: alter schema %1$I '
        'owner to %3$I', nspname, pg_get_userbyid(nspowner), :'metadata')
      from pg_namespace where :'with_metadata' and nspname = :'metadata_schema'
        and pg_get_userbyid(nspowner) <> :'metadata'
    union all
    select format('%s %s is a role that cht-sync makes for another purpose', setting, role)
      from (values ('DBT_POSTGRES_USER', :'dbt_role'), ('POSTGRES_USER', current_user)) as given(setting, role)
      where exists (select from pg_database,
          unnest(array['_authenticator', '_anon', '_ingest', '_superset', '_superset_metadata']) as part
        where datname || part = role)
    union all
    select format('POSTGRES_DB %s has the encoding %s, in which most documents cannot be stored: make one with '
        'encoding UTF8', current_database(), current_setting('server_encoding'))
      where current_setting('server_encoding') <> 'UTF8'
    union all
    select format('POSTGRES_TABLE %1$s is the table of a database that is synced no longer: name another relation in '
        'POSTGRES_TABLE, or move the table away (alter table %2$I.%1$I rename to %3$I), or add %1$s to COUCHDB_DBS', name,
        :'schema', left(name, 53) || '_formerly')
      from present where ours and name not in (select name from requested)
    union all
    select format('schema %I belongs to %I, and %I may not use it and pass that on: let %2$I, or a superuser, run: '
        'grant all on schema %1$I to %3$I with grant option', nspname, pg_get_userbyid(nspowner), current_user)
      from pg_namespace
      where nspname in (:'schema', :'dbt_schema') and not pg_has_role(current_user, nspowner, 'usage')
        and not (nspname <> :'schema' and pg_get_userbyid(nspowner) = :'dbt_role')
        and not (has_schema_privilege(current_user, pg_namespace.oid, 'usage with grant option')
          and has_schema_privilege(current_user, pg_namespace.oid, 'create with grant option'))
    union all
    select format('%I may not make schemas: let %I, or a superuser, run: grant create on database %I to %1$I',
        current_user, pg_get_userbyid(datdba), datname)
      from pg_database
      where datname = current_database() and not has_database_privilege(current_user, oid, 'create')
        and exists (select from unnest(array[:'schema', :'dbt_schema',
            case when :'with_metadata' then :'metadata_schema' else :'schema' end]) as wanted
          where to_regnamespace(quote_ident(wanted)) is null)
    union all
    select format('%I.%I belongs to %I: let %3$I, or a superuser, run: alter %4$s %1$I.%2$I owner to %5$I', :'schema',
        relname, pg_get_userbyid(relowner), case relkind when 'v' then 'view' else 'table' end, current_user)
      from pg_class
      where not pg_has_role(current_user, relowner, 'usage') and (
        oid in (select oid from present where ours or our_view or of_2023 and oid in (select oid from upgraded))
        or :'has_layout' and relnamespace = to_regnamespace(quote_ident(:'schema'))
          and relname in (select name from reserved))
    union all
    select format('%I.%I was not made by cht-sync: move it away, or choose another POSTGRES_SCHEMA', :'schema', name)
      from (select name from present where not (ours or our_view or of_2023) and relkind not in ('i', 'I', 'S')
        union select relname from pg_class where relnamespace = to_regnamespace(quote_ident(:'schema'))
          and relname in (select name from reserved) and not :'has_layout') as foreign_relation(name)
    union all
    select format('%1$I.%2$I has the layout of 2023, and which of %3$s its documents come from cannot be known: '
        'alter table %1$I.%2$I rename to the name of that database, and run this again', :'schema', old_name,
        string_agg(name, ', ' order by name))
      from renamed group by old_name having count(*) > 1
    union all
    select format('%1$I.%2$I has the layout of 2023, and %3$s has documents too: keep one of them under the name '
        '%3$s, rename the other, and run this again', :'schema', old_name, name)
      from renamed where taken and (select count(*) from requested) = 1
    union all
    select format('%s %s reads a table of the layout of 2023 and cannot be made again by this script (%s): drop '
        'it, run this again, and make it anew', case relkind when 'm' then 'materialized view' else 'view' end,
        pg_class.oid::regclass, reason)
      from dependents join pg_class using (oid), lateral (
        select 'it is no view' where relkind not in ('v', 'm')
        union all select 'it has triggers' where exists (select from pg_trigger where tgrelid = pg_class.oid)
        union all select 'it has rules'
          where exists (select from pg_rewrite where ev_class = pg_class.oid and rulename <> '_RETURN')
        union all select 'its columns have defaults' where exists (select from pg_attrdef where adrelid = pg_class.oid)
        union all select 'it has extended statistics'
          where exists (select from pg_statistic_ext where stxrelid = pg_class.oid)
        union all select 'it has a tablespace of its own' where reltablespace <> 0
        union all select format('%s is not a member of its owner %s', current_user, pg_get_userbyid(relowner))
          where pg_get_userbyid(relowner) <> :'dbt_role' and not pg_has_role(current_user, relowner,
            case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end)
      ) as _(reason)
  ) as found(problem)), ''), true) <> '' as refused \gset
\if :refused
  do $$ begin
    raise exception '%', current_setting('cht_sync.problem')
      using hint = 'Nothing was changed. The names are those of COUCHDB_DBS, POSTGRES_TABLE and POSTGRES_DB.';
  end $$;
\endif

-- == Roles ==

-- Only the authenticator logs in for PostgREST; it inherits nothing and becomes one of two. A waiting
-- writer gives up before who waits for its connection does (PostgREST's pool: 10 s), so that writers never
-- exhaust it. A row's lock is waited for in two steps, so the longest wait is twice its lock_timeout.
-- PostgREST applies the settings of the role that it becomes, other servers those of the one that logs in.
-- An owner that is no superuser must be able to become a role to make a schema for it; since PostgreSQL 16
-- having created it is membership without that right. And who may become a role may change its password, so an
-- owner that may not make roles can still do that.
\o /dev/null
select set_config('cht_sync.' || name, value, true)
  from (values ('dbt_role', :'dbt_role'), ('authenticator_password', :'authenticator_password'),
    ('dbt_password', :'dbt_password'), ('superset_password', :'superset_password'),
    ('metadata_password', :'metadata_password'), ('metadata_schema', :'metadata_schema')) as settings(name, value);
\o
create function pg_temp.may_become(role name, other name) returns boolean language sql stable as
  $body$ select pg_has_role($1, $2, case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end) $body$;
-- Since PostgreSQL 16 only of the roles that one has the admin option of.
create function pg_temp.may_alter(role name) returns boolean language sql stable as
  $body$ select rolsuper or rolcreaterole and (current_setting('server_version_num')::int < 160000
    or pg_has_role($1, 'member with admin option')) from pg_roles where rolname = current_user $body$;
-- Other databases of the server may be made at the same time, with the same role for dbt; roles belong to all
-- of them, and advisory locks do not. So who comes second tries again. Errors are raised anew, without the
-- statement that failed: it may hold a password, and what is not caught is written to the server's log.
do $roles$
declare
  authenticator text := current_database() || '_authenticator';
  anon text := current_database() || '_anon';
  ingest text := current_database() || '_ingest';
  superset text := current_database() || '_superset';
  metadata text := current_database() || '_superset_metadata';
  dbt text := current_setting('cht_sync.dbt_role');
  with_metadata boolean := current_setting('cht_sync.metadata_password') <> '';
  statement text;
  login record;
begin
  for attempt in 1..100 loop
    begin
      for statement in select format('create role %I', role)
          from unnest(array[authenticator, anon, ingest, superset, dbt, case when with_metadata then metadata end]) as role
          where role is not null and not exists (select from pg_roles where rolname = role) loop
        execute statement;
      end loop;
      -- Only what is not so yet: who may not make roles is refused also what would change nothing.
      for statement in
          select format('alter role %I nologin', rolname) from pg_roles where rolname in (anon, ingest) and rolcanlogin
          union all select format('alter role %I noinherit', rolname) from pg_roles
            where rolname = authenticator and rolinherit
          union all select format('alter role %I login', rolname) from pg_roles
            where not rolcanlogin and (rolname in (authenticator, metadata)
              or rolname = superset and current_setting('cht_sync.superset_password') <> ''
              or rolname = dbt and dbt <> current_user)
          union all select format('grant %I to %I', role, authenticator) from unnest(array[anon, ingest]) as role
            where not pg_temp.may_become(authenticator, role)
          union all select format('grant %I to current_user', role)
            from unnest(array[dbt, case when with_metadata then metadata end]) as role
            where role <> current_user and not pg_temp.may_become(current_user, role) loop
        execute statement;
      end loop;
      for login in select * from (values (authenticator, current_setting('cht_sync.authenticator_password'), 'lock_timeout=4s'),
            (ingest, '', 'lock_timeout=4s'), (superset, current_setting('cht_sync.superset_password'), null),
            (dbt, case when dbt <> current_user then current_setting('cht_sync.dbt_password') else '' end, null),
            (metadata, current_setting('cht_sync.metadata_password'), case when with_metadata
              then 'search_path=' || current_setting('cht_sync.metadata_schema') end)) as roles(name, password, setting)
          left join pg_roles on rolname = roles.name where password <> '' or setting is not null loop
        if not pg_temp.may_alter(login.name) and pg_temp.may_become(current_user, login.name) then
          execute format('set local role %I', login.name);
        end if;
        if login.password <> '' then
          execute format('alter role %I password %L', login.name, login.password);
        end if;
        if login.setting is not null and login.setting <> all (coalesce(login.rolconfig, '{}')) then
          execute format('alter role %I set %s = %L', login.name, split_part(login.setting, '=', 1),
            split_part(login.setting, '=', 2));
        end if;
        set local role none;
      end loop;
      return;
    exception when others then
      if attempt = 100 or not (sqlstate in ('23505', '42710') or sqlerrm = 'tuple concurrently updated') then
        raise exception using message = sqlerrm, errcode = sqlstate,
          hint = case sqlstate
            when '42501' then 'POSTGRES_USER makes the roles of this database: it needs the right to make roles '
              '(createrole), and the admin option of those that are there already. Or an administrator makes them: '
              'cht-sync init-db --admin-url, or --print-sql.'
            when '55P03' then 'Another database with the same DBT_POSTGRES_USER is being made or upgraded: run this again.'
            else '' end;
      end if;
    end;
    perform pg_sleep(random() / 5);
  end loop;
end $roles$;

-- == Schemas, and cht-sync's own tables ==

create schema if not exists :"schema";
select :'dbt_schema' <> :'schema' as separate \gset
\if :separate
  create schema if not exists :"dbt_schema" authorization :"dbt_role";
\endif
\if :with_metadata
  select format('create schema %I authorization %I', :'metadata_schema', :'metadata')
    where to_regnamespace(:'metadata_schema') is null \gexec
  revoke all on schema :"metadata_schema" from public;
\endif
revoke all on schema :"schema" from public;
grant usage on schema :"schema" to :"ingest", :"dbt_role";
-- A hardened server has taken this right from public.
select format('grant connect on database %I to %I', current_database(), role)
  from unnest(array[:'authenticator', :'superset', :'dbt_role'] || case when :'with_metadata' then array[:'metadata'] else '{}' end) as role
  where not has_database_privilege(role, current_database(), 'connect') \gexec

-- Writers lock their table, then the state, the progress and the letters. An upgrade waits for them where
-- they begin; taken in any other order, its locks and theirs could wait for each other.
select format('lock table %s in share row exclusive mode', tgrelid::regclass)
  from pg_trigger join pg_class on pg_class.oid = tgrelid
  where relnamespace = quote_ident(:'schema')::regnamespace and tgname = 'begin_write'
    and (:'outdated' or tgrelid in (select oid from joining))
  order by relname \gexec
insert into report (line) select format('layout upgraded from %s to %s', :'recorded', :'layout')
  where :'outdated' and :'has_layout';

-- One row: the layout's version, and the stamp of the last transaction that wrote documents. Its row
-- lock is what puts all writers of the schema in one line.
create table if not exists :"schema".cht_sync_state (
  only_row boolean primary key default true check (only_row),
  layout_version text not null,
  last_stamp timestamp not null,
  stamped_by xid8
);
-- Without ON CONFLICT, which would wait for whoever has the line.
insert into :"schema".cht_sync_state (layout_version, last_stamp) select :'layout', '-infinity'
  where not exists (select from :"schema".cht_sync_state);
update :"schema".cht_sync_state set layout_version = :'layout' where layout_version <> :'layout';

create table if not exists :"schema".couchdb_progress (
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

-- That a writer lives, also while it waits in the line or for a long request; and that somebody stands by, for whom
-- it says so. Apart from the progress, whose row is locked then. Not logged: after a crash all of it is said again.
create unlogged table if not exists :"schema".cht_sync_heartbeats (
  source text not null,
  standby boolean not null,
  epoch bigint not null,
  beat bigint,
  primary key (source, standby)
);

create table if not exists :"schema".dead_letters (
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

create table if not exists :"schema".replaced_values (
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

-- A parallel first load: what was agreed at its start, and how far it is. Workers on any machine take what is
-- to be done from here, and need nothing else to agree.
create table if not exists :"schema".cht_sync_loads (
  source text primary key,
  database text not null,
  seq text not null,
  stamp timestamp not null,
  expected bigint not null,
  chunk_size integer not null,
  server_uuid text,
  instance_start_time text,
  frontier text collate "C" default '',
  reviewed_seq text not null default '0',
  added bigint not null default 0,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);
create table if not exists :"schema".cht_sync_load_chunks (
  source text not null references :"schema".cht_sync_loads on delete cascade,
  number bigint not null,
  begins text collate "C" not null,
  ends text collate "C",
  documents bigint,
  done_at timestamptz,
  primary key (source, number)
);
select format('create index on %I.cht_sync_load_chunks (source, number) where done_at is null', :'schema')
  where not exists (select from pg_index where indrelid = pg_temp.relation('cht_sync_load_chunks') and not indisprimary) \gexec

-- Rows that are taken over from an earlier program: from which table, and how far.
create table if not exists :"schema".cht_sync_migrations (
  source text primary key,
  database text not null,
  relation text not null,
  filenode oid not null,
  next_block bigint not null default 0,
  read bigint not null default 0,
  moved bigint not null default 0,
  seq text,
  started_at timestamptz not null default clock_timestamp(),
  advanced_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);

-- What the layout of 0.1.0 lacked; new columns come last there, and so they do above.
select format('alter table %s add column %I %s', pg_temp.relation(table_name), column_name, kind)
  from (values
    (1, 'couchdb_progress', 'server_uuid', 'text'),
    (2, 'couchdb_progress', 'instance_start_time', 'text'),
    (3, 'couchdb_progress', 'rereading', 'boolean not null default false'),
    (4, 'couchdb_progress', 'problem', 'text'),
    (5, 'dead_letters', 'closed_at', 'timestamptz'),
    (6, 'dead_letters', 'closed_by', 'text'),
    (7, 'cht_sync_state', 'stamped_by', 'xid8')) as added(place, table_name, column_name, kind)
  where not exists (select from pg_attribute
    where attrelid = pg_temp.relation(table_name) and attname = column_name)
  order by place \gexec

comment on table :"schema".couchdb_progress is 'How far each source was read. Written only with the data, in its transaction.';
comment on column :"schema".couchdb_progress.source is '<couchdb host>/<database>';
comment on column :"schema".couchdb_progress.seq is 'CouchDB''s sequence after the last stored change; opaque';
comment on column :"schema".couchdb_progress.pending is 'changes that wait behind it; null where the server does not say';
comment on column :"schema".couchdb_progress.caught_up_at is 'when nothing was pending for the last time';
comment on column :"schema".couchdb_progress.held_until is 'until when no other source and no foreign writer may write to this table';
comment on column :"schema".couchdb_progress.epoch is 'grows with each writer that takes over; older ones are refused';
comment on column :"schema".couchdb_progress.batch is 'grows with each request of one writer';
comment on column :"schema".couchdb_progress.server_uuid is 'of the CouchDB that the position belongs to; null = not known yet';
comment on column :"schema".couchdb_progress.instance_start_time is 'of the database there: another one means that it was made anew';
comment on column :"schema".couchdb_progress.rereading is 'a replaced database is read from its start; rows that it lacks are still to become tombstones';
comment on column :"schema".couchdb_progress.problem is 'why nothing is read, in one line; null when all is well';

comment on column :"schema".cht_sync_state.stamped_by is 'the transaction that took the last stamp';

comment on table :"schema".cht_sync_heartbeats is 'Which writers live, and where others stand by: a row that changes no more is of one that is gone. It gives no right to write.';
comment on column :"schema".cht_sync_heartbeats.epoch is 'of the writer, as in couchdb_progress';
comment on column :"schema".cht_sync_heartbeats.beat is 'changes every few seconds; null = the writer gives no signs, since nobody stands by';

comment on table :"schema".dead_letters is 'Changes that could not become a row, with the reason.';
comment on column :"schema".dead_letters.fingerprint is 'of the change: delivered twice, it is one dead letter';
comment on column :"schema".dead_letters.document is 'what was received, as text';
comment on column :"schema".dead_letters.closed_at is 'when it was settled; null = open';
comment on column :"schema".dead_letters.closed_by is 'stored: a later write of the document was; dropped: an operator said so';
comment on table :"schema".replaced_values is 'Documents that were stored with U+FFFD where jsonb cannot hold what they had.';
comment on column :"schema".replaced_values.replaced is 'in how many places';
comment on column :"schema".replaced_values.original is 'the document as received, as text';
comment on table :"schema".cht_sync_loads is 'Parallel first loads, one a source; see cht-sync load.';
comment on column :"schema".cht_sync_loads.seq is 'CouchDB''s sequence from before the start: what changed after it, the feed brings';
comment on column :"schema".cht_sync_loads.stamp is 'the last one before the start: rows with a greater one are newer than what is loaded';
comment on column :"schema".cht_sync_loads.expected is 'documents that CouchDB had at the start';
comment on column :"schema".cht_sync_loads.frontier is 'where the next chunk begins; null = all are planned';
comment on column :"schema".cht_sync_loads.reviewed_seq is 'so far the changes were looked through for what the chunks lack: deletions above all';
comment on column :"schema".cht_sync_loads.added is 'documents, deletions included, that this look-through added';
comment on table :"schema".cht_sync_load_chunks is 'Ranges of _id. Who works at one holds its row''s lock.';
comment on column :"schema".cht_sync_load_chunks.begins is 'first _id, included';
comment on column :"schema".cht_sync_load_chunks.ends is 'where the next one begins; null = the end';
comment on column :"schema".cht_sync_load_chunks.documents is 'that CouchDB gave; null = not done yet';
comment on table :"schema".cht_sync_migrations is 'Rows that are taken over from an earlier program''s table; see cht-sync migrate.';
comment on column :"schema".cht_sync_migrations.filenode is 'of that table''s file: another one means that it was rewritten, and is read from its start';
comment on column :"schema".cht_sync_migrations.next_block is 'up to here the file was read';
comment on column :"schema".cht_sync_migrations.read is 'rows that were this database''s';
comment on column :"schema".cht_sync_migrations.moved is 'those of them that were written; the others were there';
comment on column :"schema".cht_sync_migrations.advanced_at is 'when it read rows for the last time';
comment on column :"schema".cht_sync_migrations.seq is 'the earlier program''s, from before the start; null = it is not kept';
-- A document's name may be longer than an entry of a btree.
select format('create index on %I.dead_letters using hash (doc_id) where closed_at is null', :'schema')
  where not exists (select from pg_index join pg_class as i on i.oid = indexrelid join pg_am on pg_am.oid = relam
    where indrelid = pg_temp.relation('dead_letters') and amname = 'hash') \gexec
select format('create index on %I.dead_letters (database) where closed_at is null', :'schema')
  where not exists (select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indrelid = pg_temp.relation('dead_letters') and attname = 'database') \gexec

-- == Functions ==

select replace($functions$
-- The text of a header: HTTP carries no more than ASCII safely. Undecodable text is left as it is, since a
-- failure would have a code that blames the documents.
create or replace function @schema@.percent_decoded(encoded text) returns text language plpgsql immutable as $body$
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
create or replace function @schema@.begin_write() returns trigger
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
    update @schema@.cht_sync_state
      set last_stamp = greatest(moment at time zone 'UTC', nullif(last_stamp, 'infinity') + interval '1 microsecond'),
        stamped_by = pg_current_xact_id()
      returning last_stamp into strict stamp;
    perform set_config('cht_sync.stamp', to_char(stamp, 'YYYY-MM-DD HH24:MI:SS.US'), true);
    begun := array[this_transaction];
    moment := clock_timestamp();
  elsif not exists (select from @schema@.cht_sync_state where stamped_by = pg_current_xact_id()
      and last_stamp = current_setting('cht_sync.stamp', true)::timestamp) then
    -- Whoever logs in for PostgREST can set what we remember, but not what the state says.
    raise exception 'this transaction has no stamp of its own' using errcode = 'PT403';
  elsif tg_relid::text = any(begun[2:]) then
    return null;  -- INSERT ... ON CONFLICT DO UPDATE fires for both commands
  end if;

  headers := nullif(current_setting('request.headers', true), '')::json;
  writer := headers ->> 'cht-sync-source';

  -- A repair, over a connection of the owner's, writes beside the living pipeline. Here the owner is who we are.
  if not (current_setting('cht_sync.repair', true) is not distinct from this_transaction
        and pg_has_role(session_user, current_user, 'member'))
      and exists (select from @schema@.couchdb_progress as p
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
        or headers ->> 'cht-sync-after' ~ '^[0-9]{1,18}$' is false
        or headers ->> 'cht-sync-rereading' ~ '^(true|false)$' is false then
      raise exception 'the headers of source % hold no position', writer using errcode = 'PT400',
        hint = 'cht-sync-epoch and cht-sync-batch are needed; these, cht-sync-pending and cht-sync-after are whole '
          'numbers, cht-sync-rereading is true or false.';
    end if;
    -- A writer says which of its requests it knows to be stored. If that one is not here, an earlier state
    -- of the database has been restored, and going on from the writer's position would leave a gap.
    if headers ->> 'cht-sync-after' is not null and not exists (select from @schema@.couchdb_progress as p
        where p.source = writer and (p.epoch, p.batch)
          >= ((headers ->> 'cht-sync-epoch')::bigint, (headers ->> 'cht-sync-after')::bigint)) then
      raise exception 'the position of % was put back', writer using errcode = 'PT409',
        hint = 'The database holds an earlier state, as after a restore; the writer begins again from its position.';
    end if;
    insert into @schema@.couchdb_progress as p
        (source, database, seq, pending, updated_at, caught_up_at, held_until, epoch, batch,
          server_uuid, instance_start_time, rereading, problem)
      values (writer, tg_table_name, headers ->> 'cht-sync-seq', (headers ->> 'cht-sync-pending')::bigint,
        moment, case when headers ->> 'cht-sync-pending' = '0' then moment end,
        case when headers ->> 'cht-sync-release' = 'true' then moment else moment + interval '5 minutes' end,
        (headers ->> 'cht-sync-epoch')::bigint, (headers ->> 'cht-sync-batch')::bigint,
        headers ->> 'cht-sync-server-uuid', headers ->> 'cht-sync-instance-start-time',
        coalesce(headers ->> 'cht-sync-rereading' = 'true', false),
        @schema@.percent_decoded(headers ->> 'cht-sync-problem'))
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

-- The heart of a writer beats for the newest one alone.
create or replace function @schema@.accept_heartbeat() returns trigger language plpgsql as $body$
begin
  if not new.standby
      and not exists (select from @schema@.couchdb_progress where source = new.source and epoch = new.epoch) then
    raise exception 'another writer has taken over %', new.source using errcode = 'PT409',
      hint = 'Signs of life are taken of the newest writer of a source alone.';
  end if;
  return new;
end $body$;

-- For each row: a replay changes nothing; anything else gets the stamp of its transaction.
create or replace function @schema@.stamp_row() returns trigger language plpgsql as $body$
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

-- After each upsert: what was stored settles the dead letters of its documents. A replay stores nothing. From
-- the rows to the letters by an index, however many letters are open: OFFSET and IS NOT DISTINCT FROM leave
-- the planner, which knows nothing of a stamp that is so new, no other way.
create or replace function @schema@.end_write() returns trigger
  language plpgsql security definer set search_path from current as $body$
begin
  if exists (select from @schema@.dead_letters where database = tg_table_name and closed_at is null) then
    execute format($close$
        update %1$I.dead_letters set closed_at = clock_timestamp(), closed_by = 'stored'
          where id = any(array(
            select letter.id from %1$I.%2$I as stored, lateral (
                select id from %1$I.dead_letters
                  where doc_id = stored._id collate "default" and database is not distinct from $2
                    and closed_at is null
                  offset 0) as letter
              where stored.saved_timestamp = $1))
      $close$, tg_table_schema, tg_table_name)
      using current_setting('cht_sync.stamp')::timestamp, tg_table_name::text;
  end if;
  return null;
end $body$;

-- Before each dead letter: one that was settled and comes again is open again, and still one. Done here, so
-- that who writes letters needs no right to change them.
create or replace function @schema@.reopen_letter() returns trigger
  language plpgsql security definer set search_path from current as $body$
begin
  update @schema@.dead_letters set closed_at = null, closed_by = null
    where fingerprint = new.fingerprint and closed_at is not null;
  return case when not found then new end;
end $body$;

revoke execute on function @schema@.percent_decoded(text), @schema@.begin_write(), @schema@.stamp_row(),
  @schema@.end_write(), @schema@.reopen_letter(), @schema@.accept_heartbeat() from public;
$functions$, '@schema@', quote_ident(:'schema')) \gexec
select format('create trigger %1$I before %2$s on %3$I.%4$I for each row execute function %3$I.%1$I()',
    trigger_name, moment, :'schema', table_name)
  from (values ('reopen_letter', 'insert', 'dead_letters'), ('accept_heartbeat', 'insert or update', 'cht_sync_heartbeats'))
    as triggers(trigger_name, moment, table_name)
  where not exists (select from pg_trigger
    where tgrelid = pg_temp.relation(table_name) and tgname = trigger_name) \gexec

-- == Of 2023: views are taken down, tables upgraded ==

-- Take down what reads relations that change, and remember how to make it again: by its owner, with its
-- rights, comments and indexes.
create temporary table again on commit drop as
  select level, our_view, relkind, pg_class.oid::regclass::text as name,
      case when our_view then '{}' else array[
        format('set local role %I', pg_get_userbyid(relowner)),
        format('create %s %s %s as %s %s', case relkind when 'm' then 'materialized view' else 'view' end,
          pg_class.oid::regclass, 'with (' || array_to_string(reloptions, ', ') || ')',
          rtrim(pg_get_viewdef(pg_class.oid), ';'),
          case when relkind = 'm' then case when relispopulated then 'with data' else 'with no data' end end)
      ] end
      || array(select pg_get_indexdef(indexrelid) from pg_index where indrelid = pg_class.oid)
      || array(select format('grant %s %s on %s to %s %s', privilege_type, '(' || quote_ident(attname) || ')',
            pg_class.oid::regclass, coalesce(quote_ident(rolname), 'public'),
            case when is_grantable then 'with grant option' end)
          from (select null, relacl union all select attname, attacl from pg_attribute where attrelid = pg_class.oid)
              as rights(attname, acl), aclexplode(acl) left join pg_roles on pg_roles.oid = grantee
          where grantee <> relowner)
      || array(select format('comment on %s %s is %L', case when objsubid > 0 then 'column'
              when relkind = 'm' then 'materialized view' else 'view' end,
            concat_ws('.', pg_class.oid::regclass, quote_ident(attname)), description)
          from pg_description left join pg_attribute on attrelid = objoid and attnum = objsubid and objsubid > 0
          where objoid = pg_class.oid and classoid = 'pg_class'::regclass)
      || case when our_view then '{}' else array['reset role'] end as statements
    from dependents join pg_class using (oid);
select format('drop %s %s', case relkind when 'm' then 'materialized view' else 'view' end, name)
  from again order by level desc, name \gexec

-- POSTGRES_TABLE may have been a view over all databases before a database got that name.
select format('drop view %s', pg_temp.relation(name)) from present
  where our_view and name in (select name from requested) \gexec

-- The layout of 2023: a row for each revision, and for each deletion one with a name that was never
-- filled in. What stays is written once more, in the form of today. No position is invented: the pipeline
-- reads from the start, and what is here already it leaves as it is.
select format('drop table %s', pg_temp.relation(name)) from renamed where target is not null
union all select format('alter table %s rename to %I', pg_temp.relation(old_name), name) from renamed \gexec
insert into report (line) select format('%s: its table is now that of the database %s', old_name, name) from renamed;
select format('lock table %s in access exclusive mode', pg_temp.relation(name)) from upgraded order by name \gexec
-- The moment of the upgrade where no clock can have been: a stamp of the future would keep stamps from being
-- times, and one without end would end all writing.
create function pg_temp.credible(at timestamp) returns timestamp language sql stable as
  $body$ select case when isfinite(at) is false then now() at time zone 'UTC'
    else least(coalesce(at, 'epoch'), now() at time zone 'UTC') end $body$;
select format($upgrade$
    with ranked as (
      select ctid as place, coalesce(_id, '') not in ('', '%%{[doc][_id]}') as named, row_number() over (
          partition by _id order by pg_temp.credible("@timestamp" %3$s at time zone 'UTC') desc,
            substring(_rev from '^([0-9]+)-')::numeric desc nulls last, _rev collate "C" desc nulls last) as age
        from %1$s
    ), removed as (
      delete from %1$s as old using ranked where old.ctid = place and (age > 1 or not named) returning named
    )
    insert into report (line) select format('%%s: 2023 layout upgraded: %%s documents kept, %%s older revisions removed, '
        '%%s rows without a name removed', %5$L, (select count(*) from %1$s) - count(*),
        count(*) filter (where named), count(*) filter (where not named))
      from removed;
    %2$s;
    alter table %1$s add column _deleted boolean, add column saved_timestamp timestamp, add column source text;
    alter table %1$s
      alter column _id type text collate "C",
      alter column "@timestamp" type timestamptz
        using pg_temp.credible("@timestamp" %3$s at time zone 'UTC') at time zone 'UTC',
      alter column saved_timestamp type timestamp using pg_temp.credible("@timestamp" %3$s at time zone 'UTC'),
      alter column _deleted type boolean using coalesce(doc -> '_deleted' = 'true', false),
      alter column source type text using %4$L;
    alter table %1$s
      alter column _deleted set default false, alter column _deleted set not null,
      alter column saved_timestamp set not null,
      add primary key (_id);
    alter table %1$s owner to current_user;
    update %6$I.cht_sync_state set last_stamp = greatest(last_stamp, (select max(saved_timestamp) from %1$s));
  $upgrade$, pg_temp.relation(name),
    (select string_agg(format('alter table %s drop constraint %I', pg_temp.relation(name), conname), ';') from pg_constraint
      where conrelid = upgraded.oid and contype = 'u' and array(select attname::text from pg_attribute
        where attrelid = conrelid and attnum = any(conkey) order by 1) = '{_id,_rev}'),
    (select case when atttypid = 'timestamp'::regtype then 'at time zone ''UTC''' end from pg_attribute
      where attrelid = upgraded.oid and attname = '@timestamp'),
    nullif(:'couchdb_host', '') || '/' || name, name, :'schema')
  from upgraded order by name \gexec

insert into report (line)
  select format('%s takes rows of %s, whose columns are others now: see that it still works', objid::regprocedure,
      pg_class.oid::regclass)
    from upgraded join pg_class using (oid) join pg_depend on refclassid = 'pg_type'::regclass and refobjid = reltype
      and classid = 'pg_proc'::regclass;

-- == Tables of documents ==

-- A table for each database. "C" order of _id is the order of its bytes, on every machine.
insert into report (line) select format('%s: table made', name) from requested
  where pg_temp.relation(name) is null order by name;
create temporary table known on commit drop as
  select name from requested where pg_temp.relation(name) is not null;
select format($make$
    create table if not exists %1$I.%2$I (
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
    grant select, insert, update on %1$I.%2$I to %3$I;
    grant select on %1$I.%2$I to %4$I;
  $make$, :'schema', name, :'ingest', :'dbt_role')
  from requested order by name \gexec
select format('create trigger %1$I %2$s on %3$s for each %4$s execute function %5$I.%1$I()',
    trigger_name, moment, pg_temp.relation(name), level, :'schema')
  from requested, (values ('begin_write', 'before insert or update', 'statement'),
    ('stamp_row', 'before insert or update', 'row'),
    ('end_write', 'after insert', 'statement')) as triggers(trigger_name, moment, level)
  where not exists (select from pg_trigger
    where tgrelid = pg_temp.relation(name) and tgname = trigger_name)
  order by name, trigger_name \gexec
-- What models of the two generations filter by. Both together cost 3 % of a first load; for 100,000 documents
-- they make 40 ms into 1 ms (bench/indexes.py: 2 cores, PostgreSQL 18). verify reads in the order of the key.
-- PostgreSQL names each index: a name of ours could be taken where long names begin alike.
select format('create index on %s (%I)', pg_temp.relation(name), column_name)
  from requested, (values ('saved_timestamp'), ('@timestamp')) as followed(column_name)
  where not exists (select from pg_index join pg_class as i on i.oid = indexrelid join pg_am on pg_am.oid = relam
    join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indrelid = pg_temp.relation(name) and attname = column_name and amname = 'btree')
  order by name, column_name desc \gexec
-- What has settings of its own: the table, or where it is partitioned (postgres/partition-table.sql), each part.
create temporary table stored on commit drop as
  select name, pg_temp.relation(name)::oid as oid from requested
  union select name, relid from requested, pg_partition_tree(pg_temp.relation(name));
-- lz4 halves the time that large documents take, where the server was built with it. The statement waits for
-- all who read the table, and all who come wait for it: while dbt reads it is left for the next run.
create temporary table recompressed on commit drop as
  select name, oid from stored
  where exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any(enumvals))
    and exists (select from pg_attribute as a where attrelid = stored.oid
      and attname = 'doc' and to_jsonb(a) ->> 'attcompression' is distinct from 'l');
select current_setting('lock_timeout') as patience \gset
set local lock_timeout = '1s';
select format('do %L', format('begin
    alter table %1$s alter column doc set compression lz4;
  exception when lock_not_available then
    delete from recompressed where oid = %2$s;
  end', oid::regclass, oid)) from recompressed order by name, oid \gexec
set local lock_timeout = :'patience';
insert into report (line) select distinct format('%s: documents that come are compressed with lz4', name) as said
  from recompressed where name in (select name from known) order by said;

-- How often they are vacuumed and analysed; a choice that somebody made stays. The default waits for a fifth
-- of a table, which for millions of documents is weeks: until then index scans look into the table for what
-- is visible, and models are planned with old statistics. No fillfactor: saved_timestamp is indexed and
-- changes with every update, so the new version of a row gains nothing from a place beside the old one.
select format('alter table %s set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02, '
    'autovacuum_analyze_scale_factor = 0.02)', oid::regclass)
  from stored join pg_class using (oid)
  where relkind = 'r' and reloptions is null
  order by name, oid \gexec
-- Updated by every transaction. A vacuum that gives their last page back would lock all writers out; and
-- beside a reader that stays, as dbt may, a page of couchdb_progress with room for many versions of its
-- rows makes an update with 30 sources take 12 microseconds rather than 72.
select format('alter table %s set (%s)', pg_temp.relation(name), options)
  from (values ('cht_sync_state', 'vacuum_truncate = off'),
    ('couchdb_progress', 'vacuum_truncate = off, fillfactor = 10'),
    ('cht_sync_heartbeats', 'vacuum_truncate = off, fillfactor = 10')) as _(name, options)
  where (select reloptions is null from pg_class where oid = pg_temp.relation(name)) \gexec

-- == Stamps of tables that join others ==

-- Readers ask for what is greater than their greatest stamp, and a replay stamps nothing anew: what joins
-- must be greater too. No trigger, since nothing of a document differs.
update :"schema".cht_sync_state
  set last_stamp = greatest(clock_timestamp() at time zone 'UTC',
    nullif(last_stamp, 'infinity') + interval '1 microsecond')
  where exists (select from joining);
select format($restamp$
    alter table %1$s disable trigger user;
    with stamped as (
      update %1$s set saved_timestamp = last_stamp, "@timestamp" = last_stamp at time zone 'UTC'
        from %2$I.cht_sync_state returning 1
    )
    insert into report (line)
      select format('%%s: %%s documents are stamped anew, so that models see them', %3$L, count(*))
        from stamped having count(*) > 0;
    alter table %1$s enable trigger user;
  $restamp$, oid::regclass, :'schema', name)
  from joining order by name \gexec

-- == Views over all databases ==

-- One view over all of them; and under POSTGRES_TABLE, where that names no database. Replaced only when
-- there are others: that waits for all who read the view, and all who come would wait for it.
create temporary table shown on commit drop as
  select view_name, array(select distinct refobjid from pg_rewrite join pg_depend on objid = pg_rewrite.oid
      where classid = 'pg_rewrite'::regclass and refclassid = 'pg_class'::regclass
        and ev_class = pg_temp.relation(view_name) and refobjid <> ev_class order by 1) as tables
    from (select 'all_documents' union select :'model_table') as views(view_name)
    where view_name not in (select name from requested);
create temporary table replaced on commit drop as
  select view_name from shown
  where tables <> array(select pg_temp.relation(name)::oid from requested order by 1);
insert into report (line) select format('%s: no longer synced; its table stays', relname)
  from shown join pg_class on pg_class.oid = any(tables)
  where view_name = 'all_documents' and relname not in (select name from requested) order by relname;
insert into report (line) select format('%s: view of %s', view_name, string_agg(name, ', ' order by name))
  from replaced, requested group by view_name order by view_name;
select format('create or replace view %I.%I as ', :'schema', view_name) || string_agg(format(
    'select _id, _rev, doc, "@timestamp", "@version", doc_as_upsert, _deleted, saved_timestamp, source from %s',
    pg_temp.relation(name)), ' union all ' order by name)
  from replaced, requested group by view_name order by view_name \gexec
select format('grant select on %s to %I', pg_temp.relation(view_name), :'dbt_role')
  from (values ('all_documents'), (:'model_table')) as views(view_name) \gexec

-- == Rights ==

grant select on :"schema".couchdb_progress to :"ingest", :"dbt_role";
grant select, insert, update on :"schema".cht_sync_heartbeats to :"ingest";
grant select, insert on :"schema".dead_letters, :"schema".replaced_values to :"ingest";
grant select on :"schema".dead_letters, :"schema".replaced_values, :"schema".cht_sync_state, :"schema".cht_sync_loads,
  :"schema".cht_sync_load_chunks, :"schema".cht_sync_heartbeats, :"schema".cht_sync_migrations to :"dbt_role";
\if :separate
  select format('grant usage, create on schema %I to %I', :'dbt_schema', :'dbt_role') from pg_namespace
    where nspname = :'dbt_schema' and not (has_schema_privilege(:'dbt_role', oid, 'usage')
      and has_schema_privilege(:'dbt_role', oid, 'create')) \gexec
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

-- == Of 2023: views are made again; the report ==

-- What was taken down, now that all it reads is there again.
select statement from again, unnest(statements) with ordinality as _(statement, place)
  order by level, name, place \gexec
insert into report (line) select format('%s: made again', string_agg(name, ', ' order by level, name))
  from again where not our_view having count(*) > 0;

notify pgrst, 'reload schema';
select line from report order by place;
SQL
)
