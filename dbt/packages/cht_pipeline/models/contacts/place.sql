{{ config(
    indexes=[{'columns': ['uuid']}, {'columns': ['parent_uuid']}, {'columns': ['place_id']}],
    meta={'depends_on_documents': ['settings']},
) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp(field('reported_date')) }} as reported,
  {{ contact_type() }} as contact_type,
  {{ document_id('parent', '_id') }} as parent_uuid,
  {{ field('name') }} as name,
  {{ key(field('place_id')) }} as place_id,
  {{ document_id('contact', '_id') }} as contact_uuid,
  {{ field('external_id') }} as external_id,
  {{ rejected() }}
from {{ changed_documents(contact_doc_types()) }} as document
where not {{ is_person() }}
