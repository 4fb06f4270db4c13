{{ config(
    indexes=[{'columns': ['uuid']}, {'columns': ['parent_uuid']}, {'columns': ['patient_id']}],
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
  {{ field('phone') }} as phone,
  {{ field('alternative_phone') }} as phone2,
  {{ key(field('patient_id')) }} as patient_id,
  {{ field('sex') }} as sex,
  {{ as_date(field('date_of_birth')) }} as date_of_birth,
  {{ as_timestamp(field('date_of_death')) }} as date_of_death,
  {{ rejected() }}
from {{ changed_documents(contact_doc_types()) }} as document
where {{ is_person() }}
