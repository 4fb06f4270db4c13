{{ config(
    materialized='incremental',
    unique_key='uuid',
    on_schema_change='append_new_columns',
    indexes=[
      {'columns': ['uuid'], 'type': 'hash'},
      {'columns': ['saved_timestamp']},
      {'columns': ['parent_uuid']},
    ]
) }}

select
  metadata.uuid,
  metadata.saved_timestamp,
  to_timestamp((nullif(document.doc ->> 'reported_date', '')::bigint / 1000)::double precision) as reported,
  document.doc -> 'parent' ->> '_id' as parent_uuid,
  document.doc ->> 'name' as name,
  coalesce(document.doc ->> 'contact_type', document.doc ->> 'type') as contact_type
from {{ ref('document_metadata') }} as metadata
join {{ source('couchdb', env_var('POSTGRES_TABLE')) }} as document on document._id = metadata.uuid
where metadata.doc_type in ('contact', 'clinic', 'person') and not metadata._deleted
{%- if is_incremental() %}
  and metadata.saved_timestamp >= {{ newest('saved_timestamp') }}
{%- endif %}
