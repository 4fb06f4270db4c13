{{ config(materialized='table', schema='reporting', tags=['reporting']) }}

select
  {{ village_utils.hashed_key(['contact_uuid']) }} as key,
  contact_uuid,
  {{ village_utils.counts_by('form', ref('data_record')) }}
from {{ ref('data_record') }}
group by contact_uuid
