{{ config(indexes=[{'columns': ['uuid']}, {'columns': ['period_start']}, {'columns': ['android_version']}]) }}

select
  uuid,
  source,
  saved_timestamp,
  {{ as_timestamp('day') }} as period_start,
  {{ field('metadata', 'deviceId') }} as device_id,
  {{ field('device', 'deviceInfo', 'hardware', 'manufacturer') }} as device_manufacturer,
  {{ field('device', 'deviceInfo', 'hardware', 'model') }} as device_model,
  {{ field('device', 'userAgent') }} as user_agent,
  {{ field('device', 'deviceInfo', 'app', 'version') }} as cht_android_version,
  {{ key(field('device', 'deviceInfo', 'software', 'androidVersion')) }} as android_version,
  {{ as_numeric(field('device', 'deviceInfo', 'storage', 'free')) }} as storage_free,
  {{ as_numeric(field('device', 'deviceInfo', 'storage', 'total')) }} as storage_total,
  {{ as_numeric(field('device', 'deviceInfo', 'network', 'upSpeed')) }} as network_up_speed,
  {{ as_numeric(field('device', 'deviceInfo', 'network', 'downSpeed')) }} as network_down_speed,
  {{ rejected() }}
from {{ changed_documents(['telemetry']) }} as document
cross join lateral (select {{ telemetry_day() }} as day) as period
