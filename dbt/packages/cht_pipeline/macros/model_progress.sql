{#
  How far each model has read. A model's own greatest saved_timestamp would not do: it knows nothing
  of the documents that were read and did not become rows, so all of those would be read again.
#}

{% macro model_progress_table() -%}
  {{ adapter.quote(target.schema) }}.model_progress
{%- endmacro %}

{% macro create_model_progress() %}
  {%- if execute and not adapter.get_relation(target.database, target.schema, 'model_progress') -%}
    create table if not exists {{ model_progress_table() }} (
      model text primary key,
      saved_timestamp timestamp not null
    )
  {%- endif -%}
{% endmacro %}

{#
  What changed since a model's last run:
    since       the stamp up to which it has read, a literal: the planner guesses a third of the table
                for a value that it cannot see
    many        whether these are so many documents that looking each up is the slower way
    everything  whether one of the documents that the model's meta names under depends_on_documents is
                among them: then every row is made anew
#}
{% macro changes_since_last_run(model_relation, metadata) %}
  {{- return(changes_after(
    "select saved_timestamp from " ~ model_progress_table() ~ " where model = '" ~ model_relation.identifier ~ "'",
    metadata,
    config.get('meta', {}).get('depends_on_documents', [])
  )) -}}
{% endmacro %}

{# The same after the stamp that a query finds. #}
{% macro changes_after(stamp, documents, depends_on=[]) %}
  {%- if not execute -%}
    {{ return({'since': "'-infinity'::timestamp", 'many': false, 'everything': false}) }}
  {%- endif -%}
  {%- set everything = "false" -%}
  {%- if depends_on -%}
    {%- set everything = "exists (select from " ~ documents ~ " where saved_timestamp > since and uuid in ('"
      ~ depends_on | join("', '") ~ "'))" -%}
  {%- endif -%}
  {%- set found = run_query(
    "with progress as (select coalesce((" ~ stamp ~ "), '-infinity') as since)"
    ~ " select quote_literal(since) || '::timestamp',"
    ~ " (select saved_timestamp from " ~ documents ~ " where saved_timestamp > since"
    ~ " order by saved_timestamp offset " ~ var('many_changes') ~ " limit 1) is not null, "
    ~ everything ~ " from progress"
  ).rows[0] -%}
  {{ return({'since': found[0], 'many': found[1], 'everything': found[2]}) }}
{% endmacro %}

{# In the transaction of the model's rows. #}
{% macro save_model_progress() %}
  insert into {{ model_progress_table() }} (model, saved_timestamp)
  select '{{ this.identifier }}', coalesce(max(saved_timestamp), '-infinity')
  from {{ ref('document_metadata') }}
  on conflict (model) do update set saved_timestamp = excluded.saved_timestamp
  where model_progress.saved_timestamp <> excluded.saved_timestamp
{% endmacro %}

{# A table just made has no statistics, and the first incremental run would be planned without. #}
{% macro analyze_new_table() %}
  {%- if not is_incremental() -%}
    analyze {{ this }}
  {%- endif -%}
{% endmacro %}
