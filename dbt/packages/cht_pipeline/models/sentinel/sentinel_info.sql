{{ config(indexes=[{'columns': ['uuid']}, {'columns': ['document_uuid']}]) }}

{# Sentinel writes "unknown" where it was not there when the document came. #}
select
  uuid,
  source,
  saved_timestamp,
  coalesce({{ document_id('doc_id') }}, regexp_replace(uuid, '-info$', '')) as document_uuid,
  {{ as_timestamp("nullif(" ~ field('initial_replication_date') ~ ", 'unknown')") }} as initial_replication_date,
  {{ as_timestamp("nullif(" ~ field('latest_replication_date') ~ ", 'unknown')") }} as latest_replication_date,
  doc -> 'transitions' as transitions,
  {{ rejected(['unknown']) }}
from {{ changed_documents(['info']) }} as document
