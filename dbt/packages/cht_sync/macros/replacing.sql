{#
  How a model's new relation takes the place of the old one, so that nobody who reads it, or reads a
  view on it, finds it empty, half-built or gone.

  dbt builds X__dbt_tmp, renames X to X__dbt_backup and X__dbt_tmp to X in the same transaction, and then
  drops the backup with everything that depends on it: views of other models until they are built again,
  views that people made for good. Here, in that same transaction,

  - a view is replaced in place where PostgreSQL can do that: what depends on it does not notice;
  - of a table that others' views depend on, the rows are replaced in place, where the columns that they need
    are still there; views of ours that need another one read a copy of the old rows until they are built again;
  - else the relations are renamed as dbt does it, and our own views are pointed at the new one.

  The new relation has the privileges of the old one. A backup is dropped without what depends on it;
  one that is still read then, since its successor lacks a column for instance, stays as X__dbt_old_<number>
  and is dropped by the run after which nothing needs it.

  These macros are found by dispatch: adapter.rename_relation and adapter.drop_relation call them.
#}

{% macro postgres__rename_relation(from_relation, to_relation) -%}
  {%- if to_relation.identifier.endswith('__dbt_backup') -%}
    {%- call statement('rename_relation') -%}
      {{ cht_sync.move_aside_sql(from_relation, to_relation) }}
    {%- endcall -%}
  {%- elif from_relation.identifier.endswith('__dbt_tmp') -%}
    {%- call statement('rename_relation') -%}
      {{ cht_sync.take_place_sql(from_relation, to_relation) }}
    {%- endcall -%}
  {%- else -%}
    {{ return(dbt.default__rename_relation(from_relation, to_relation)) }}
  {%- endif -%}
{%- endmacro %}

{% macro postgres__drop_relation(relation) -%}
  {%- if relation.identifier.endswith('__dbt_backup') -%}
    {%- call statement('drop_relation', auto_begin=False) -%}
      {{ cht_sync.drop_backup_sql(relation) }}
    {%- endcall -%}
  {%- else -%}
    {{ return(dbt.default__drop_relation(relation)) }}
  {%- endif -%}
{%- endmacro %}

{% macro quoted_literal(text) -%}
  '{{ text | replace("'", "''") }}'
{%- endmacro %}

{# The views that read a relation, and whether they are ours; as an expression of a query. #}
{% macro views_on(relation) -%}
  (
    select distinct pg_class.oid::regclass as name, pg_class.relkind as kind,
      pg_has_role(pg_class.relowner, 'usage') as ours
    from pg_depend
    join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
    join pg_class on pg_class.oid = pg_rewrite.ev_class
    where pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = {{ relation }}
      and pg_class.oid <> {{ relation }}
  )
{%- endmacro %}

{#
  What needs a column of `old`, as rows of pg_depend: `of_ours` is whether it is a view of ours, which a run
  builds again. A column's indexes and defaults go with it.
#}
{% macro needs_column(column) -%}
  (
    select pg_rewrite.ev_class as view,
      coalesce(pg_class.relkind = 'v' and pg_has_role(pg_class.relowner, 'usage'), false) as of_ours
    from pg_depend
    left join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
    left join pg_class on pg_class.oid = pg_rewrite.ev_class
    where pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = old
      and pg_depend.refobjsubid = {{ column }} and pg_depend.deptype = 'n'
  )
{%- endmacro %}

{#
  A rename waits for everybody who reads the relation, and whoever comes meanwhile waits for the rename:
  so it waits for half a second at a time, thirty times, and only then to the end. Views are locked before
  what they read, as their readers do it.
#}
{% macro move_aside_sql(relation, backup) -%}
do $cht_sync$
declare
  moved constant regclass := {{ cht_sync.quoted_literal(relation.include(database=false).render()) }}::regclass;
  lock_timeout constant text := current_setting('lock_timeout');
  view regclass;
begin
  for attempt in 0..30 loop
    begin
      perform set_config('lock_timeout', case when attempt < 30 then '500ms' else lock_timeout end, true);
      for view in select name from {{ cht_sync.views_on('moved') }} as views
        where ours and kind = 'v' order by name::oid
      loop
        -- Locks it, and changes nothing: "lock table" would also want rights to what the view reads.
        execute format('alter view %s owner to %I', view,
          (select pg_get_userbyid(relowner) from pg_class where oid = view));
      end loop;
      execute format('alter table %s rename to %I', moved, {{ cht_sync.quoted_literal(backup.identifier) }});
      perform set_config('lock_timeout', lock_timeout, true);
      return;
    exception when lock_not_available then
      perform pg_sleep(0.5);
    end;
  end loop;
end
$cht_sync$
{%- endmacro %}

{% macro take_place_sql(fresh, target) -%}
{%- set backup = make_backup_relation(target, 'table') -%}
do $cht_sync$
declare
  target constant text := {{ cht_sync.quoted_literal(target.include(database=false).render()) }};
  target_name constant text := {{ cht_sync.quoted_literal(target.identifier) }};
  backup_name constant text := {{ cht_sync.quoted_literal(backup.identifier) }};
  fresh constant regclass := {{ cht_sync.quoted_literal(fresh.include(database=false).render()) }}::regclass;
  aside constant regclass := to_regclass({{ cht_sync.quoted_literal(backup.include(database=false).render()) }});
  old regclass := to_regclass({{ cht_sync.quoted_literal(target.include(database=false).render()) }});
  kinds text;
  columns text;
  statement text;
  statements text[];
  lost name[];
begin
  if old is null and aside is not null then
    -- Back to its name, so that definitions of views are read with it.
    execute format('alter table %s rename to %I', aside, target_name);
    old := aside;
  end if;
  if old is null then
    execute format('alter table %s rename to %I', fresh, target_name);
    return;
  end if;
  select (select relkind from pg_class where oid = old)::text || (select relkind from pg_class where oid = fresh)::text
    into kinds;

  if kinds = 'vv' then
    begin
      if pg_get_viewdef(old) <> pg_get_viewdef(fresh) then
        execute format('create or replace view %s as %s', old, pg_get_viewdef(fresh));
      end if;
      execute format('drop view %s', fresh);
      return;
    exception when syntax_error_or_access_rule_violation then
      null;  -- it lacks a column, or one has another type
    end;
  end if;

  if kinds = 'rr' and exists (select from {{ cht_sync.views_on('old') }} as views where kind <> 'v' or not ours)
    and not exists (
      select from pg_attribute as had
      left join pg_attribute as has on has.attrelid = fresh and has.attname = had.attname and not has.attisdropped
      where had.attrelid = old and had.attnum > 0 and not had.attisdropped
        and (had.atttypid, had.atttypmod, had.attcollation, had.attnotnull)
          is distinct from (has.atttypid, has.atttypmod, has.attcollation, has.attnotnull)
        and (has.attnum is not null
          or exists (select from {{ cht_sync.needs_column('had.attnum') }} as needed where not of_ours)))
    and not exists (
      select from pg_attribute as has
      join pg_type on pg_type.oid = has.atttypid
      where has.attrelid = fresh and has.attnum > 0 and not has.attisdropped
        and not exists (select from pg_attribute as had
          where had.attrelid = old and had.attname = has.attname and not had.attisdropped)
        and (has.attnotnull or has.attcollation <> pg_type.typcollation))
    and not exists (
      select array_agg(pg_get_constraintdef(oid) order by pg_get_constraintdef(oid)) from pg_constraint
        where conrelid = old and contype <> 'n'
      except
      select array_agg(pg_get_constraintdef(oid) order by pg_get_constraintdef(oid)) from pg_constraint
        where conrelid = fresh and contype <> 'n')
  then
    select array_agg(had.attname order by had.attnum) into lost from pg_attribute as had
      where had.attrelid = old and had.attnum > 0 and not had.attisdropped
        and not exists (select from pg_attribute as has
          where has.attrelid = fresh and has.attname = had.attname and not has.attisdropped);
    select array_agg(format('create or replace view %s %s as %s', oid::regclass,
        'with (' || array_to_string(reloptions, ', ') || ')', pg_get_viewdef(oid)) order by oid)
      into statements
      from pg_class where oid in (
        select needed.view from pg_attribute as had, lateral {{ cht_sync.needs_column('had.attnum') }} as needed
        where had.attrelid = old and had.attname = any(lost));
    if statements is not null then
      -- The definitions name the table: the copy has its name meanwhile.
      execute format('alter table %s rename to %I', old, '__dbt_aside_' || old::oid);
      execute format('create table %s as table %s', target, old);
      foreach statement in array statements loop
        execute statement;
      end loop;
      execute format('alter table %s rename to %I', target, backup_name);
      execute format('alter table %s rename to %I', old, target_name);
    end if;
    foreach statement in array coalesce(lost, '{}') loop
      execute format('alter table %s drop column %I', old, statement);
    end loop;
    for statement in
      select format('alter table %s add column %I %s', old, has.attname, format_type(has.atttypid, has.atttypmod))
      from pg_attribute as has
      where has.attrelid = fresh and has.attnum > 0 and not has.attisdropped
        and not exists (select from pg_attribute as had
          where had.attrelid = old and had.attname = has.attname and not had.attisdropped)
      order by has.attnum
    loop
      execute statement;
    end loop;
    -- Indexes are the same where they say the same after their names.
    for statement in
      select format('drop index %s', indexrelid::regclass) from pg_index as had
      where had.indrelid = old and had.indisunique
        and not exists (select from pg_constraint where conindid = had.indexrelid)
        and not exists (select from pg_index as has where has.indrelid = fresh and has.indisunique
          and substr(pg_get_indexdef(has.indexrelid), position(' USING ' in pg_get_indexdef(has.indexrelid)))
            = substr(pg_get_indexdef(had.indexrelid), position(' USING ' in pg_get_indexdef(had.indexrelid))))
    loop
      execute statement;
    end loop;
    select array_agg(format('create %s index on %s%s', case when has.indisunique then 'unique' end, old,
        substr(pg_get_indexdef(has.indexrelid), position(' USING ' in pg_get_indexdef(has.indexrelid)))))
      into statements
      from pg_index as has
      where has.indrelid = fresh and not exists (select from pg_constraint where conindid = has.indexrelid)
        and not exists (select from pg_index as had where had.indrelid = old and had.indisunique = has.indisunique
          and substr(pg_get_indexdef(has.indexrelid), position(' USING ' in pg_get_indexdef(has.indexrelid)))
            = substr(pg_get_indexdef(had.indexrelid), position(' USING ' in pg_get_indexdef(had.indexrelid))));
    select string_agg(quote_ident(attname), ', ' order by attnum) into columns
      from pg_attribute where attrelid = fresh and attnum > 0 and not attisdropped;
    execute format('delete from %s', old);
    execute format('insert into %s (%s) select %2$s from %3$s', old, columns, fresh);
    foreach statement in array coalesce(statements, '{}') loop
      execute statement;
    end loop;
    execute format('drop table %s', fresh);
    return;
  end if;

  select array_agg(format('create or replace view %s %s as %s', name,
      (select 'with (' || array_to_string(reloptions, ', ') || ')' from pg_class where oid = name),
      pg_get_viewdef(name)) order by name::oid)
    into statements
    from {{ cht_sync.views_on('old') }} as views where ours and kind = 'v';
  execute format('alter table %s rename to %I', old, backup_name);
  execute format('alter table %s rename to %I', fresh, target_name);
  foreach statement in array coalesce(statements, '{}') loop
    begin
      execute statement;
    exception when syntax_error_or_access_rule_violation then
      null;  -- it reads what is no more there: it goes on reading the backup until it is built again
    end;
  end loop;

  for statement in
    select format('revoke all on %s from %s', fresh, coalesce(quote_ident(rolname), 'public'))
    from pg_class, aclexplode(relacl) left join pg_roles on pg_roles.oid = grantee
    where pg_class.oid = fresh and grantee <> relowner
    union
    select format('grant %s on %s to %s%s', privilege_type, fresh, coalesce(quote_ident(rolname), 'public'),
      case when is_grantable then ' with grant option' end)
    from pg_class, aclexplode(relacl) left join pg_roles on pg_roles.oid = grantee
    where pg_class.oid = old and grantee <> relowner
    union
    select format('grant %s (%I) on %s to %s%s', privilege_type, had.attname, fresh,
      coalesce(quote_ident(rolname), 'public'), case when is_grantable then ' with grant option' end)
    from pg_attribute as had
    join pg_attribute as has on has.attrelid = fresh and has.attname = had.attname and not has.attisdropped,
      pg_class, aclexplode(had.attacl) left join pg_roles on pg_roles.oid = grantee
    where had.attrelid = old and not had.attisdropped and pg_class.oid = old and grantee <> relowner
    order by 1 desc  -- what is revoked comes first
  loop
    execute statement;
  end loop;
end
$cht_sync$
{%- endmacro %}

{# Without "cascade", but for materialized views of ours: they cannot be pointed at another table. #}
{% macro drop_backup_sql(backup) -%}
do $cht_sync$
declare
  dropped constant regclass := to_regclass({{ cht_sync.quoted_literal(backup.include(database=false).render()) }});
  base constant text := {{ cht_sync.quoted_literal(backup.identifier[: -('__dbt_backup' | length)]) }};
  suffix constant text := '__dbt_old_' || dropped::oid;
  dropped_kind constant "char" := (select relkind from pg_class where oid = dropped);
  view regclass;
begin
  if dropped is null then
    return;
  end if;
  begin
    for view in select name from {{ cht_sync.views_on('dropped') }} as views where ours and kind = 'm' loop
      execute format('drop materialized view %s', view);
    end loop;
    execute format('drop %s %s',
      case dropped_kind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end, dropped);
  exception when dependent_objects_still_exist then
    execute format('alter table %s rename to %I', dropped, left(base, 63 - length(suffix)) || suffix);
  end;
end
$cht_sync$
{%- endmacro %}

{# At the end of every run: what nothing reads any more is dropped, what is still read is said. #}
{% macro drop_old_relations() -%}
  {%- if execute -%}
    {%- set old = run_query(
      "select oid::regclass::text, relkind::text from pg_class where relname ~ '__dbt_old_[0-9]+$'"
      ~ " and relkind in ('r', 'v') and pg_has_role(relowner, 'usage')"
    ) -%}
    {%- for row in old.rows -%}
      {%- do run_query(
        "do $cht_sync$ begin drop " ~ ('view' if row[1] == 'v' else 'table') ~ " " ~ row[0]
        ~ "; exception when dependent_objects_still_exist then null; end $cht_sync$"
      ) -%}
      {%- set readers = run_query(
        "select string_agg(distinct coalesce(ev_class::regclass::text,"
        ~ " pg_describe_object(classid, objid, objsubid)), ', ')"
        ~ " from pg_depend left join pg_rewrite on classid = 'pg_rewrite'::regclass and pg_rewrite.oid = objid"
        ~ " where refclassid = 'pg_class'::regclass and refobjid = to_regclass("
        ~ cht_sync.quoted_literal(row[0]) ~ ") and deptype = 'n'"
      ).columns[0].values()[0] -%}
      {%- if readers -%}
        {%- do log("cht_sync: " ~ readers ~ " cannot read the new columns and goes on with the old rows, in "
          ~ row[0] ~ ": drop it, and make it again", info=true) -%}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro %}
