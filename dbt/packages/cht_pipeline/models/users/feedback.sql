{{ config(indexes=[{'columns': ['uuid']}, {'columns': ['period_start']}, {'columns': ['user_name']}]) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp(field('meta', 'time')) }} as period_start,
  {{ key(field('meta', 'user', 'name')) }} as user_name,
  {{ field('meta', 'deviceId') }} as device_id,
  {{ field('meta', 'version') }} as app_version,
  {{ field('meta', 'source') }} as feedback_source,
  {{ field('meta', 'url') }} as url,
  coalesce({{ field('info', 'cause') }}, {{ field('info') }}) as cause,
  {{ field('info', 'message') }} as message,
  {{ rejected() }}
from {{ changed_documents(['feedback']) }} as document
