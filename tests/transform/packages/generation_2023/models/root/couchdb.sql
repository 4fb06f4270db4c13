{% set documents = of_target(env_var('ROOT_POSTGRES_SCHEMA') ~ '.' ~ env_var('POSTGRES_TABLE'), ref('documents_of_tests')) %}

{# Of the name that the documents may have in their own schema. An index of a view is never made. #}
{{ config(materialized='view', indexes=[{'columns': ['"@timestamp"'], 'type': 'brin'}]) }}

select *, doc ->> 'type' as type
from {{ documents }}
