{{ config(materialized='table') }}
select uuid, extract(month from born) as month from {{ ref('births') }}
