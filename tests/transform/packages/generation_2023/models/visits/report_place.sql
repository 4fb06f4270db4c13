{{ config(materialized='table') }}

select
  {{ village_utils.hashed_key(['_id', '_rev']) }} as key,
  _id as uuid,
  cast(coalesce(doc #>> '{geolocation,longitude}', '36.8') as numeric) as longitude
from {{ ref('couchdb') }}
where type = 'data_record'
