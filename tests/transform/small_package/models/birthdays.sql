{{ config(materialized='table') }}
select uuid, source, extract(month from born) as month from {{ ref('births') }}
