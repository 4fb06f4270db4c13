{{ config(indexes=[{'columns': ['uuid']}, {'columns': ['parent_uuid']}, {'columns': ['place_id']}]) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp(field('reported_date')) }} as reported,
  {{ contact_type() }} as contact_type,
  {{ field('parent', '_id') }} as parent_uuid,
  {{ field('name') }} as name,
  {{ field('place_id') }} as place_id,
  {{ field('contact', '_id') }} as contact_uuid,
  {{ field('external_id') }} as external_id
from {{ changed_documents() }} as document
where {{ is_contact() }} and not {{ is_person() }}
