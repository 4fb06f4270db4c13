{# Names a model outright, as dashboards' SQL does; that the model comes first is said in a comment. #}
-- depends_on: {{ ref('document_metadata') }}
{{ config(
    materialized='table',
    pre_hook="select count(*) from {{ env_var('POSTGRES_SCHEMA') }}.document_metadata",
) }}

select instance, dbname, count(*) as documents
from {{ env_var('POSTGRES_SCHEMA') }}.document_metadata
where doc_type = 'telemetry'
group by instance, dbname
