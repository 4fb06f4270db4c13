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

{# The documents that a model reads in this run; tombstones are none. #}
{% macro changed_documents() %}
  {%- set metadata = ref('document_metadata') -%}
  (
    select _id as uuid, source, saved_timestamp, doc
    from {{ source('couchdb', 'all_documents') }}
    where not _deleted
    {%- if is_incremental() %}
      and _id in ({{ changed_ids(this, metadata) }})
    {%- endif %}
  )
{%- endmacro %}

{% macro changed_ids(model_relation, metadata) -%}
  select uuid from {{ metadata }} where saved_timestamp > {{ model_progress(model_relation) }}
{%- endmacro %}

{# incremental_strategy: replace_changed. One transaction: readers see the rows before or after it. #}
{% macro get_incremental_replace_changed_sql(arguments) %}
  {%- set columns = get_quoted_csv(arguments.dest_columns | map(attribute='name')) -%}
  delete from {{ arguments.target_relation }}
  where uuid in ({{ changed_ids(this, ref('document_metadata')) }});

  insert into {{ arguments.target_relation }} ({{ columns }})
  select {{ columns }} from {{ arguments.temp_relation }}
{% endmacro %}
