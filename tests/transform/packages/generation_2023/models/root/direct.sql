{{ config(materialized='view') }}

select _id, doc
from {{ env_var('ROOT_POSTGRES_SCHEMA') }}.{{ env_var('POSTGRES_TABLE') }}
