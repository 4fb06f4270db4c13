{{ config(materialized='view', indexes=[{'columns': ['uuid']}]) }}

select
  contact.doc ->> '_id' as uuid,
  contact.doc #>> '{parent,_id}'::text[] as parent_uuid,
  timestamp with time zone '1970-01-01 00:00:00+00'
    + ((contact.doc ->> 'reported_date')::numeric / 1000)::double precision * interval '1 second' as reported
from {{ ref('direct') }} as contact
where contact.doc ->> 'type' = any(array['clinic', 'person'])
