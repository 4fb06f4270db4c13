{{ config(indexes=[
    {'columns': ['uuid']},
    {'columns': ['form', 'reported']},
    {'columns': ['reported']},
    {'columns': ['contact_uuid']},
    {'columns': ['patient_uuid']},
    {'columns': ['patient_id']},
]) }}

{%- set patient_id %}
  coalesce({{ field('patient_id') }}, {{ field('fields', 'patient_id') }}, {{ field('fields', 'patient_uuid') }})
{%- endset %}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp(field('reported_date')) }} as reported,
  {{ key(field('form')) }} as form,
  {{ document_id('contact', '_id') }} as contact_uuid,
  {{ document_id('contact', 'parent', '_id') }} as parent_uuid,
  {{ document_id('contact', 'parent', 'parent', '_id') }} as grandparent_uuid,
  {{ key(patient_id) }} as patient_id,
  {{ document_id('fields', 'patient_uuid') }} as patient_uuid,
  coalesce({{ field('place_id') }}, {{ field('fields', 'place_id') }}) as place_id,
  {{ field('from') }} as from_phone,
  {{ as_boolean(field('verified')) }} as verified,
  {{ as_double(field('geolocation', 'latitude'), [-90, 90]) }} as latitude,
  {{ as_double(field('geolocation', 'longitude'), [-180, 180]) }} as longitude,
  {{ as_double(field('geolocation', 'accuracy'), [0, 1000000000]) }} as location_accuracy,
  doc -> 'fields' as fields,
  {{ rejected(texts={'patient_id': patient_id}) }}
from {{ changed_documents(['data_record']) }} as document
