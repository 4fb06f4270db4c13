{{ config(
    materialized='incremental',
    unique_key='uuid',
    on_schema_change='append_new_columns',
    post_hook='delete from {{ this }} where _deleted',
    indexes=[
      {'columns': ['uuid'], 'type': 'hash'},
      {'columns': ['saved_timestamp']},
      {'columns': ['doc_type']},
      {'columns': ['dbname']},
    ]
) }}

with documents as (
  select
    _id as uuid,
    _deleted,
    saved_timestamp,
    doc ->> 'type' as doc_type,
    split_part(source, '/', 1) as instance,
    split_part(source, '/', 2) as dbname
  from {{ source('couchdb', env_var('POSTGRES_TABLE')) }}
)

{{ next_batch('documents') }}
