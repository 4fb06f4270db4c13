{{ config(
    indexes=[{'columns': ['uuid']}, {'columns': ['patient_id']}],
    meta={'depends_on_documents': ['settings']},
) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ key(field('patient_id')) }} as patient_id,
  {{ field('name') }} as name
from {{ changed_documents(contact_doc_types()) }} as document
where {{ is_person() }} and not {{ is_too_long(field('patient_id')) }}
