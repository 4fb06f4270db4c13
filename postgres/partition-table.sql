-- Partitions a table of documents by the hash of _id, behind its name; or makes a plain table of it again.
-- When that pays, and what is seen: docs/big-tables.md.
--
--   psql --set table=medic --set partitions=16 --file postgres/partition-table.sql
--
--   table        of a database in COUCHDB_DBS, as made by init-db-resources.sh, with rows or without
--   partitions   how many, 2 to 1,024; 0 for a plain table
--   schema       POSTGRES_SCHEMA, v1 where it is not given
--
-- Run by the owner of the table, or by a superuser. One transaction: a run that fails or is killed has
-- changed nothing. Rows are copied with their stamps, so that models read nothing again; twice the space
-- of the table is needed. Writers wait, and come again by themselves; readers wait only at the end, for a
-- moment. Rights, triggers, indexes, comments, settings of autovacuum and plain views stay. Partitions are
-- in <schema>_partitions, where nobody but the owner may do anything: rights on the table suffice.
\set ON_ERROR_STOP 1
\set QUIET 1
\set SHOW_CONTEXT never
\pset tuples_only on
\pset format unaligned
\if :{?schema}
\else
  \set schema v1
\endif
\if :{?table}
\else
  \set table ''
\endif
\if :{?partitions}
\else
  \set partitions ''
\endif

begin;
-- Nothing is looked up where others may make functions and operators; and definitions name their schemas.
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;
-- Rented servers may have limits for everybody; a copy takes as long as it takes.
set local statement_timeout = 0;
set local lock_timeout = 0;
\o /dev/null
select set_config('cht_sync.schema', :'schema', true), set_config('cht_sync.table', :'table', true),
  set_config('cht_sync.partitions', :'partitions', true), set_config('cht_sync.home', :'schema' || '_partitions', true);
-- Not beside init-db, which would make what is missing in a table that is about to go.
select pg_advisory_xact_lock(hashtextextended('cht-sync init-db', 0));
\o

-- == Refusals, before anything is changed ==

create temporary table outgoing on commit drop as
  select pg_class.oid, relkind, pg_get_userbyid(relowner) as owner, reltype,
      coalesce((select tree.relid::oid from pg_partition_tree(pg_class.oid) as tree where isleaf limit 1), pg_class.oid)
        as storage,
      (select count(*) from pg_inherits where inhparent = pg_class.oid) as partitions
    from pg_class where relnamespace = to_regnamespace(quote_ident(:'schema')) and relname = :'table'
      and relkind in ('r', 'p')
      and exists (select from pg_trigger where tgrelid = pg_class.oid and tgname = 'begin_write');

-- Plain views read another table under the same name as well; everything else that knows the table by its
-- number would be lost with it. A view, since others make and replace theirs while rows are copied; it goes with
-- the table that it reads.
create temporary view readers as
  select distinct ev_class as oid, ev_class::regclass::text as name, pg_get_userbyid(relowner) as owner,
      'with (' || array_to_string(reloptions, ', ') || ')' as options
    from outgoing join pg_depend on refclassid = 'pg_class'::regclass and refobjid = outgoing.oid
        and classid = 'pg_rewrite'::regclass
      join pg_rewrite on pg_rewrite.oid = objid and rulename = '_RETURN'
      join pg_class on pg_class.oid = ev_class and pg_class.relkind = 'v';

-- Read by the roles that this becomes.
grant select on outgoing, readers to public;

do $refusals$
declare
  problem text;
begin
  select string_agg(text, '; ') into problem from (
    select 'partitions is to be 0, or from 2 to 1024' as text
      where current_setting('cht_sync.partitions') !~ '^(0|[2-9]|[1-9][0-9]{1,2}|10[01][0-9]|102[0-4])$'
    union all
    select format('%I.%I is no table of documents: name one by --set table=, with its schema by --set schema=',
        current_setting('cht_sync.schema'), current_setting('cht_sync.table'))
      where not exists (select from outgoing)
    union all
    select format('%I is longer than 63 bytes', current_setting('cht_sync.home'))
      where octet_length(current_setting('cht_sync.home')) > 63
    union all
    select case relkind when 'r' then 'the table is not partitioned'
        else format('the table has %s partitions already', partitions) end
      from outgoing where (case relkind when 'r' then 0 else partitions end)::text = current_setting('cht_sync.partitions')
    union all
    select format('the table belongs to %s: run this as that role, or as a superuser', owner)
      from outgoing where not pg_has_role(session_user, owner,
        case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end)
    union all
    -- The old table is put into one of its own for a moment, also where the partitions' is there.
    select format('%I may not make schemas: let the owner of the database, or a superuser, run: grant create on database %I '
        'to %1$I', owner, current_database())
      from outgoing where not has_database_privilege(owner, current_database(), 'create')
    union all
    -- Whoever owns a schema may drop what is in it.
    select format('schema %I belongs to %I, and must belong to %I: let %2$I, or a superuser, run: alter schema %1$I '
        'owner to %3$I', nspname, pg_get_userbyid(nspowner), owner)
      from outgoing join pg_namespace on nspname = current_setting('cht_sync.home')
      where pg_get_userbyid(nspowner) <> owner
    union all
    select format('the view %s reads the table, and %s may not become its owner %s', name, session_user, readers.owner)
      from readers where not pg_has_role(session_user, readers.owner,
        case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end)
    union all
    select format('%s needs the table itself: drop it, run this again, and make it anew', thing)
      from (select distinct pg_describe_object(case when pg_class.relkind = 'm' then 'pg_class'::regclass else classid end,
            case when pg_class.relkind = 'm' then pg_class.oid else objid end, 0) as thing
          from outgoing join pg_depend on deptype in ('n', 'a') and (refclassid = 'pg_class'::regclass and refobjid = outgoing.oid
              or refclassid = 'pg_type'::regclass
                and refobjid in (reltype, (select typarray from pg_type where pg_type.oid = reltype)))
            left join pg_rewrite on classid = 'pg_rewrite'::regclass and pg_rewrite.oid = objid
            left join pg_class on pg_class.oid = ev_class
          where not (refclassid = 'pg_class'::regclass and (
            classid = 'pg_rewrite'::regclass and rulename = '_RETURN' and pg_class.relkind = 'v'
            or classid = 'pg_trigger'::regclass
            or classid in ('pg_attrdef'::regclass, 'pg_statistic_ext'::regclass)
            or classid = 'pg_constraint'::regclass and exists (select from pg_constraint
              where pg_constraint.oid = objid and conrelid = outgoing.oid and contype <> 'f')
            or classid = 'pg_class'::regclass and exists (select from pg_index
              where indexrelid = objid and indrelid = outgoing.oid)
            or classid = 'pg_class'::regclass and exists (select from pg_inherits
              where inhrelid = objid and inhparent = outgoing.oid and outgoing.relkind = 'p')))) as needing
    union all
    select 'row level security is on: turn it off first'
      from outgoing join pg_class using (oid) where relrowsecurity
    union all
    select format('the trigger %s sees rows as a table, which partitioned tables do not give: drop it first', tgname)
      from outgoing join pg_trigger on tgrelid = outgoing.oid
      where current_setting('cht_sync.partitions') <> '0' and tgtype & 1 = 1
        and (tgnewtable is not null or tgoldtable is not null)
  ) as problems;
  if problem is not null then
    raise exception '%', problem using hint = 'Nothing was changed.';
  end if;
end $refusals$;

-- == The new table, filled ==

do $fill$
declare
  old record;
  home text := current_setting('cht_sync.home');
  name text := current_setting('cht_sync.table');
  arriving text := left(name, 50) || '_arriving';
  number int := current_setting('cht_sync.partitions')::int;
  options text;
  tablespace text;
  leaf text;
  statement text;
  documents bigint;
begin
  select outgoing.*, format('%I.%I', current_setting('cht_sync.schema'), name) as place into strict old from outgoing;
  execute format('set local role %I', old.owner);
  if to_regnamespace(quote_ident(home)) is null then
    execute format('create schema %I', home);
    execute format('revoke all on schema %I from public', home);
  end if;
  -- Readers go on, writers wait where they begin.
  execute format('lock table %s in share row exclusive mode', old.place);
  select ', ' || array_to_string(reloptions, ', '), spcname into options, tablespace
    from pg_class left join pg_tablespace on pg_tablespace.oid = pg_class.reltablespace where pg_class.oid = old.storage;
  perform set_config('default_tablespace', coalesce(tablespace, current_setting('default_tablespace')), true);

  if number = 0 then
    execute format('create table %I.%I (like %s including all)', home, name, old.place);
    if options is not null then
      execute format('alter table %I.%I set (%s)', home, name, substr(options, 3));
    end if;
    execute format('insert into %I.%I select * from %s', home, name, old.place);
    get diagnostics documents = row_count;
  else
    -- Rows first, then indexes: an index that is built at once is smaller, and costs a fraction of one that
    -- grows by ids in no order. A partition gets those of the table when it is attached.
    execute format('create table %I.%I (like %s including all) partition by hash (_id)', home, name, old.place);
    execute format('create table %I.%I (like %s including all excluding indexes) partition by hash (_id)',
      home, arriving, old.place);
    for remainder in 0..number - 1 loop
      leaf := format('%I.%I', home, format('%s_%s_of_%s', left(name, 50), remainder, number));
      execute format('create table %s partition of %I.%I for values with (modulus %s, remainder %s)',
        leaf, home, arriving, number, remainder);
      if options is not null then
        execute format('alter table %s set (%s)', leaf, substr(options, 3));
      end if;
    end loop;
    execute format('insert into %I.%I select * from %s', home, arriving, old.place);
    get diagnostics documents = row_count;
    for remainder in 0..number - 1 loop
      leaf := format('%I.%I', home, format('%s_%s_of_%s', left(name, 50), remainder, number));
      execute format('alter table %I.%I detach partition %s', home, arriving, leaf);
      execute format('alter table %I.%I attach partition %s for values with (modulus %s, remainder %s)',
        home, name, leaf, number, remainder);
    end loop;
    execute format('drop table %I.%I', home, arriving);
  end if;
  for statement in
      select format('comment on table %I.%I is %L', home, name, description)
        from (select obj_description(old.oid, 'pg_class') as description) as _ where description is not null loop
    execute statement;
  end loop;
  execute format('analyze %I.%I', home, name);
  perform set_config('cht_sync.documents', to_char(documents, 'FM999,999,999,999,990'), true);
end $fill$;

-- == In the old one's place ==

do $swap$
declare
  old record;
  home text := current_setting('cht_sync.home');
  name text := current_setting('cht_sync.table');
  schema text := current_setting('cht_sync.schema');
  triggers text[];
  owners text[];
  definitions text[];
  reader record;
  statement text;
begin
  select outgoing.*, format('%I.%I', schema, name) as place into strict old from outgoing;
  triggers := array(
    select pg_get_triggerdef(pg_trigger.oid) from pg_trigger where tgrelid = old.oid and not tgisinternal
    union all select format('alter table %s %s trigger %I', old.place, case tgenabled when 'D' then 'disable'
        when 'R' then 'enable replica' else 'enable always' end, tgname)
      from pg_trigger where tgrelid = old.oid and not tgisinternal and tgenabled <> 'O');

  -- Who reads is waited for in short steps, so that who comes then waits no longer than a step. Views first, as
  -- readers lock them: an owner is given anew only for the lock.
  perform set_config('lock_timeout', '500ms', true);
  for attempt in 1..1200 loop
    begin
      for reader in select * from readers order by oid desc loop
        execute format('set local role %I', reader.owner);
        execute format('alter view %s owner to %I', reader.name, reader.owner);
      end loop;
      execute format('set local role %I', old.owner);
      execute format('lock table %s in access exclusive mode', old.place);
      exit;
    exception when lock_not_available or deadlock_detected then
      if attempt = 1200 then
        raise exception 'somebody has read %s for ten minutes without an end', old.place using
          hint = 'Nothing was changed. See pg_stat_activity for who it is, and run this again.';
      end if;
    end;
    perform pg_sleep(0.1);
  end loop;
  perform set_config('lock_timeout', '0', true);
  -- Not before: to read a definition locks the view to the end, so that who replaces it would wait, and we for them.
  select array_agg(owner order by oid), array_agg(format('create or replace view %s %s as %s', readers.name, options,
      rtrim(pg_get_viewdef(oid), ';')) order by oid) into owners, definitions from readers;

  -- Not before, since rights are given and taken without a lock. What the owner gives everything new by itself, this
  -- table need not have had.
  for statement in
      select format('revoke all on %I.%I from %s', home, name, coalesce(quote_ident(rolname), 'public'))
        from pg_class cross join aclexplode(relacl) left join pg_roles on pg_roles.oid = grantee
        where pg_class.oid = format('%I.%I', home, name)::regclass and grantee <> relowner
      union all
      select format('grant %s %s on %I.%I to %s %s', privilege_type, '(' || quote_ident(attname) || ')', home, name,
          coalesce(quote_ident(rolname), 'public'), case when is_grantable then 'with grant option' end)
        from (select null::name as attname, relacl as acl from pg_class where oid = old.oid
            union all select attname, attacl from pg_attribute
            where attrelid = old.oid and attnum > 0 and not attisdropped) as rights,
          aclexplode(acl) left join pg_roles on pg_roles.oid = grantee
        where grantee <> (select relowner from pg_class where oid = old.oid) loop
    execute statement;
  end loop;

  create schema cht_sync_outgoing;
  execute format('alter table %s set schema cht_sync_outgoing', old.place);
  execute format('alter table %I.%I set schema %I', home, name, schema);
  foreach statement in array triggers loop
    execute statement;
  end loop;
  for number in 1..coalesce(cardinality(owners), 0) loop
    execute format('set local role %I', owners[number]);
    execute definitions[number];
  end loop;
  execute format('set local role %I', old.owner);
  execute format('drop table cht_sync_outgoing.%I', name);
  drop schema cht_sync_outgoing;
  if not exists (select from pg_class where relnamespace = quote_ident(home)::regnamespace) then
    execute format('drop schema %I', home);
  end if;
end $swap$;

notify pgrst, 'reload schema';
select format('%s: %s documents, %s', :'table', current_setting('cht_sync.documents'),
  case :'partitions' when '0' then 'in a plain table' else :'partitions' || ' partitions' end) as done \gset
commit;
\echo :done
-- What index scans need to answer without a look into the table. It locks nobody out, and may be stopped.
select format('vacuum %I.%I', :'schema', :'table') \gexec
