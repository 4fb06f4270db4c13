{{ config(materialized='table') }}
select uuid, doc ->> 'name' as name, '{{ var("greeting") }}' as greeting
from {{ ref('documents') }} where doc ->> 'type' = 'person'
