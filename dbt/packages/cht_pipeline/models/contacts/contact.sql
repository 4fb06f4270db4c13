{{ config(indexes=[{'columns': ['uuid']}, {'columns': ['parent_uuid']}, {'columns': ['contact_type']}]) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp(field('reported_date')) }} as reported,
  {{ contact_type() }} as contact_type,
  {{ document_id('parent', '_id') }} as parent_uuid,
  {{ field('name') }} as name,
  {{ field('phone') }} as phone,
  {{ field('alternative_phone') }} as phone2,
  {{ as_boolean(field('is_active')) }} as active,
  {{ as_timestamp(field('muted')) }} as muted,
  {{ field('external_id') }} as external_id,
  {{ field('notes') }} as notes,
  {{ rejected() }}
from {{ changed_documents(contact_doc_types()) }} as document
