{{ config(materialized='table') }}
select uuid, source, (doc ->> 'born')::date as born from {{ ref('documents') }}
