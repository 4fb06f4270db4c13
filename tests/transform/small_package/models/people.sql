{{ config(materialized='table') }}
select uuid, source, doc ->> 'name' as name, '{{ var("greeting") }}' as greeting
from {{ ref('documents') }} where doc ->> 'type' = 'person'
