{{ config(
    materialized='incremental',
    indexes=[{'columns': ['"@timestamp"'], 'type': 'brin'}, {'columns': ['"patient_id"'], 'type': 'hash'}]
) }}

select
  doc ->> 'patient_id' as patient_id,
  doc ->> 'sex' as sex,
  *
from {{ ref('couchdb') }}
where type = 'person'
{%- if is_incremental() %}
  and coalesce("@timestamp" > (select max("@timestamp") from {{ this }}), true)
{%- endif %}
