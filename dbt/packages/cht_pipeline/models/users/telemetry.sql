{{ config(indexes=[
    {'columns': ['uuid']},
    {'columns': ['period_start']},
    {'columns': ['user_name']},
    {'columns': ['device_id']},
]) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp('day') }} as period_start,
  {{ as_integer(field('metadata', 'year')) }} as year,
  {{ as_integer(field('metadata', 'month')) }} as month,
  {{ as_integer(field('metadata', 'day')) }} as day,
  {{ key(field('metadata', 'user')) }} as user_name,
  {{ key(field('metadata', 'deviceId')) }} as device_id,
  {{ field('metadata', 'versions', 'app') }} as app_version,
  {{ as_numeric(field('metrics', 'boot_time', 'min')) }} as boot_time_min,
  {{ as_numeric(field('metrics', 'boot_time', 'max')) }} as boot_time_max,
  {{ as_integer(field('metrics', 'boot_time', 'count')) }} as boot_time_count,
  {{ as_integer(field('dbInfo', 'doc_count')) }} as doc_count_on_local_db,
  doc -> 'metrics' as metrics,
  {{ rejected() }}
from {{ changed_documents(['telemetry']) }} as document
cross join lateral (select {{ telemetry_day() }} as day) as period
