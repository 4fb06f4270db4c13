{{ config(
    materialized='incremental',
    unique_key='uuid',
    on_schema_change='append_new_columns',
    indexes=[{'columns': ['uuid'], 'type': 'hash'}, {'columns': ['saved_timestamp']}, {'columns': ['form']}]
) }}

select
  metadata.uuid,
  metadata.saved_timestamp,
  document.doc ->> 'form' as form,
  coalesce(document.doc ->> 'patient_id', document.doc -> 'fields' ->> 'patient_id') as patient_id,
  document.doc -> 'contact' ->> '_id' as contact_uuid
from {{ ref('document_metadata') }} as metadata
join {{ source('couchdb', env_var('POSTGRES_TABLE')) }} as document on document._id = metadata.uuid
where metadata.doc_type = 'data_record' and not metadata._deleted
{%- if is_incremental() %}
  and metadata.saved_timestamp >= {{ newest('saved_timestamp') }}
{%- endif %}
