{# A view, and what is said for incremental models is never used. #}
select doc
from {{ ref('couchdb') }}
where type in ('task', 'data_record')
{%- if is_incremental() %}
  and "@timestamp" > (select max("@timestamp") from {{ this }})
{%- endif %}
