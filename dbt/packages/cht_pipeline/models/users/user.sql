{{ config(indexes=[{'columns': ['uuid']}, {'columns': ['contact_uuid']}]) }}

{#
  A user is two documents of one id: "user-settings" in the CHT's database, and "user" in _users, which
  logs in. The settings are asked first. All documents of a changed id are read, so they can be joined here.
#}
{%- set contact_uuid = 'coalesce(' ~ of_either(field('contact_id')) ~ ', ' ~ of_either('facility_uuid') ~ ')' %}

select
  uuid,
  uuid as user_id,
  {{ of_either('source') }} as source,
  max(saved_timestamp) as saved_timestamp,
  {{ of_either(field('name')) }} as name,
  {{ of_either(field('fullname')) }} as full_name,
  ({{ key(contact_uuid) }} collate "C") as contact_uuid,
  ({{ key(of_either('facility_uuid')) }} collate "C") as facility_uuid,
  {{ of_either(field('language')) }} as language,
  {{ of_either(field('roles')) }} as roles,
  {{ of_either(field('phone')) }} as phone,
  {{ of_either(field('email')) }} as email,
  bool_or(doc ->> 'type' = 'user') as has_login,
  {{ rejected(texts={'contact_uuid': contact_uuid, 'facility_uuid': of_either('facility_uuid')}) }}
from {{ changed_documents(['user-settings', 'user']) }} as document
cross join lateral (select {{ facility_of_user() }} as facility_uuid) as facility
group by uuid, split_part(source, '/', 1)
