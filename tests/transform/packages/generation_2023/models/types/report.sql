{{ config(
    materialized='incremental',
    indexes=[{'columns': ['"@timestamp"'], 'type': 'brin'}, {'columns': ['"form"'], 'type': 'hash'}]
) }}

select
  doc ->> 'patient_id' as patient_id,
  doc ->> 'form' as form,
  doc ->> 'reported_date' as reported_date,
  *
from {{ ref('couchdb') }}
where type = 'data_record'
{%- if is_incremental() %}
  and coalesce("@timestamp" > (select max("@timestamp") from {{ this }}), true)
{%- endif %}
