{# The word is a variable, as where linters take lists of indexes for columns. #}
{% set COLUMNS = 'columns' %}
{{ config(
    materialized='incremental',
    unique_key='uuid',
    on_schema_change='append_new_columns',
    indexes=[{COLUMNS: ['uuid'], 'type': 'hash'}, {COLUMNS: ['saved_timestamp']}]
) }}

select
  metadata.uuid,
  metadata.saved_timestamp,
  concat_ws('-', doc #>> '{metadata,year}', doc #>> '{metadata,month}', '1')::timestamptz as period_start,
  doc #>> '{metadata,user}' as user_name
from {{ ref('document_metadata') }} as metadata
join {{ source('couchdb', env_var('POSTGRES_TABLE')) }} as document on document._id = metadata.uuid
where metadata.doc_type = 'telemetry' and not metadata._deleted
{%- if is_incremental() %}
  and metadata.saved_timestamp >= {{ newest('saved_timestamp') }}
{%- endif %}
