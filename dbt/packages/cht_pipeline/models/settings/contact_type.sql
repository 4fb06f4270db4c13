{{ config(incremental_strategy='replace_all') }}

{# Few rows, made anew at every run. Which types are in use is read by jumping from one to the next in the index. #}
with recursive used as (
  select min(contact_type) as id from {{ ref('contact') }}
  union all
  select (
    select min(contact.contact_type)
    from {{ ref('contact') }} as contact
    where contact.contact_type > used.id
  ) as id
  from used
  where used.id is not null
),

configured as (
  select {{ configured_type() }} as id
  from {{ source('couchdb', 'all_documents') }}, {{ configured_types() }}
  where _id = 'settings' and not _deleted and {{ configured_type() }} is not null
)

select
  id,
  id in ('person', '{{ person_types() | map('replace', "'", "''") | join("', '") }}') as person,
  id in (select configured.id from configured) as configured
from (
  select used.id
  from used
  where used.id is not null
  union
  select configured.id
  from configured
) as types
