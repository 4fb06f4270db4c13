{{ config(materialized='view') }}

select {{ village_utils.all_but(ref('person'), ['saved_timestamp']) }}
from {{ ref('person') }}
