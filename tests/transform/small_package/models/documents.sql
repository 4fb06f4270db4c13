{{ config(materialized='incremental', unique_key='uuid') }}
select _id as uuid, source, doc, saved_timestamp
from {{ source('couchdb', 'all_documents') }}
{% if is_incremental() %}
where saved_timestamp > (select coalesce(max(saved_timestamp), '-infinity') from {{ this }})
{% endif %}
{% if var('batch_size', none) %}
order by saved_timestamp limit {{ var('batch_size') }}
{% endif %}
