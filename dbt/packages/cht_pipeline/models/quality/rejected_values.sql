{{ config(materialized='filled_by_models') }}

select
  source,
  uuid,
  saved_timestamp,
  model,
  column_name,
  path,
  value,
  data_type,
  form
from {{ rejected_values_table() }}
