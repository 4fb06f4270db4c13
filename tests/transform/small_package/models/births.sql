{{ config(materialized='table') }}
select uuid, (doc ->> 'born')::date as born from {{ ref('documents') }}
