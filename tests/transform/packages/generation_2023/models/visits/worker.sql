{{ config(materialized='table', indexes=[{'columns': ['"@timestamp"'], 'type': 'brin'}]) }}

select doc ->> 'phone' as phone, *
from {{ ref('couchdb') }}
where type = 'person'
