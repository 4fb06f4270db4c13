{{ config(
    incremental_strategy='replace_same',
    indexes=[{'columns': ['uuid']}, {'columns': ['saved_timestamp']}],
) }}

{# Every document and tombstone is here, so its own greatest stamp is how far it has read. #}
{%- set documents = source('couchdb', 'all_documents') %}

select
  _id as uuid,
  source,
  split_part(source, '/', 1) as instance,
  substring(source from '/(.*)$') as dbname,
  _rev,
  _deleted,
  saved_timestamp,
  {{ field('type') }} as doc_type
from {{ documents }}
{%- if is_incremental() %}
{# All rows of an id are replaced together, over all databases: see macros/documents.sql. #}
{%- set changes = changes_after('select max(saved_timestamp) from ' ~ this, documents) %}
where {{ is_one_of('_id', 'select _id from ' ~ documents ~ ' where saved_timestamp > ' ~ changes.since, changes) }}
{%- endif %}
