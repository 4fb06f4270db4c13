{{ config(indexes=[
    {'columns': ['uuid']},
    {'columns': ['form', 'reported']},
    {'columns': ['reported']},
    {'columns': ['contact_uuid']},
    {'columns': ['patient_uuid']},
    {'columns': ['patient_id']},
]) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp(field('reported_date')) }} as reported,
  {{ field('form') }} as form,
  {{ field('contact', '_id') }} as contact_uuid,
  {{ field('contact', 'parent', '_id') }} as parent_uuid,
  {{ field('contact', 'parent', 'parent', '_id') }} as grandparent_uuid,
  coalesce({{ field('patient_id') }}, {{ field('fields', 'patient_id') }}) as patient_id,
  {{ field('fields', 'patient_uuid') }} as patient_uuid,
  coalesce({{ field('place_id') }}, {{ field('fields', 'place_id') }}) as place_id,
  {{ field('from') }} as from_phone,
  {{ as_boolean(field('verified')) }} as verified,
  doc -> 'fields' as fields
from {{ changed_documents() }} as document
where doc ->> 'type' = 'data_record'
