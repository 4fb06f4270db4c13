{{ config(
    materialized='incremental',
    unique_key='uuid',
    on_schema_change='append_new_columns',
    indexes=[{'columns': ['uuid'], 'type': 'hash'}, {'columns': ['saved_timestamp']}]
) }}

select
  contact.uuid,
  contact.saved_timestamp,
  document.doc ->> 'sex' as sex,
  document.doc ->> 'patient_id' as patient_id
from {{ ref('contact') }} as contact
join {{ ref('contact_type') }} as contact_type on contact_type.id = contact.contact_type
join {{ source('couchdb', env_var('POSTGRES_TABLE')) }} as document on document._id = contact.uuid
where contact_type.person
{%- if is_incremental() %}
  and contact.saved_timestamp >= {{ newest('saved_timestamp') }}
{%- endif %}
