{{ config(materialized='incremental', unique_key='id', on_schema_change='append_new_columns') }}

with configured as (
  select jsonb_array_elements(doc -> 'settings' -> 'contact_types') as element
  from {{ source('couchdb', env_var('POSTGRES_TABLE')) }}
  where _id = 'settings'
),

used as (
  select distinct contact_type as id from {{ ref('contact') }}
)

select
  coalesce(element ->> 'id', used.id) as id,
  used.id = 'person' or coalesce(element ->> 'person', 'false')::boolean as person
from configured
full join used on used.id = element ->> 'id'
