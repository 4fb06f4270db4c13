{#
  Models over documents are a function of the documents as they are now. An incremental run therefore
  takes every id that changed since the model's last run, deletes the model's rows of these ids, and
  inserts what the documents say now: an update, a deletion, and a document that became something else
  are all the same case, and no model holds a row that a full refresh would not make.

  Ids, not (source, id): an id that exists in several databases is replaced in all of them together,
  and a document whose source is renamed leaves no row behind under its old one.

  What changed is read from document_metadata, which only dbt writes. It stands still during a run,
  whereas documents keep arriving. A document read here may thus be newer than its metadata; it is
  then read again by the next run, which changes nothing.
#}

{#
  The documents that a model reads in this run; tombstones are none. With types, only documents whose
  type is one of these.
#}
{% macro changed_documents(types=none) %}
  {%- set metadata = ref('document_metadata') -%}
  {%- set of_types = " in ('" ~ (types or []) | map('replace', "'", "''") | join("', '") ~ "')" -%}
  (
    select _id as uuid, source, saved_timestamp, decompressed.doc
    from {{ source('couchdb', 'all_documents') }} as stored
    {#- Once, and not for each value that is looked up in it. #}
    cross join lateral unnest(array[stored.doc]) as decompressed (doc)
    where not _deleted
    {%- if types %}
      and stored.doc ->> 'type'{{ of_types }}
    {%- endif %}
    {%- if is_incremental() %}
      {%- set changes = changes_since_last_run(this, metadata) %}
      {%- if not changes.everything %}
      {%- set changed = is_changed('uuid' if types else '_id', changes, metadata) %}
      {%- if types %}
      {#- Whether it is in any database of that type: an id's rows are replaced together. #}
      {%- set changed = is_one_of('_id', 'select uuid from ' ~ metadata ~ ' where ' ~ changed ~ ' and doc_type' ~ of_types, changes) %}
      {%- endif %}
      and {{ changed }}
      {%- endif %}
    {%- endif %}
  )
{%- endmacro %}

{% macro changed_ids(model_relation, metadata) -%}
  select uuid from {{ metadata }} where saved_timestamp > {{ changes_since_last_run(model_relation, metadata).since }}
{%- endmacro %}

{#
  Whether a column's id is one of those that changed. A few are looked up by index, whatever the planner
  believes of tables that have grown since they were analyzed; for many it knows a better way.
#}
{% macro is_changed(column, changes, metadata) -%}
  {{ is_one_of(column, 'select uuid from ' ~ metadata ~ ' where saved_timestamp > ' ~ changes.since, changes) }}
{%- endmacro %}

{% macro is_one_of(column, ids, changes) -%}
  {{ column }} {{ 'in (' ~ ids ~ ')' if changes.many else '= any(array(' ~ ids ~ '))' }}
{%- endmacro %}

{#
  incremental_strategy: replace_changed. One transaction: readers see the rows before or after it. The
  rows that were made anew may be of more ids than those that changed.
#}
{% macro get_incremental_replace_changed_sql(arguments) %}
  {%- set metadata = ref('document_metadata') -%}
  {%- set changes = changes_since_last_run(this, metadata) -%}
  delete from {{ arguments.target_relation }}
  {%- if not changes.everything %}
  where {{ is_changed('uuid', changes, metadata) }}
  {%- endif %};

  {{ replace_rejected_values(arguments.temp_relation, changes, metadata) }}
  {{ replace_rows(arguments) }}
{% endmacro %}

{# incremental_strategy: replace_same. All rows of an id are replaced by those that were made anew. #}
{% macro get_incremental_replace_same_sql(arguments) %}
  {{ replace_rows(arguments) }}
{% endmacro %}

{% macro replace_rows(arguments) %}
  delete from {{ arguments.target_relation }}
  where uuid = any(array(select uuid from {{ arguments.temp_relation }}));

  {{ insert_rows(arguments) }}
{% endmacro %}

{# incremental_strategy: replace_all. For tables of a few rows. #}
{% macro get_incremental_replace_all_sql(arguments) %}
  delete from {{ arguments.target_relation }};

  {{ insert_rows(arguments) }}
{% endmacro %}

{% macro insert_rows(arguments) %}
  {%- set columns = get_quoted_csv(arguments.dest_columns | map(attribute='name')) -%}
  insert into {{ arguments.target_relation }} ({{ columns }})
  select {{ columns }} from {{ arguments.temp_relation }}
{% endmacro %}
