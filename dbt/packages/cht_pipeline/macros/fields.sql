{#
  Values of a document. Documents are written by many versions of many apps, so every cast here yields
  null for what it cannot read: one wrong value costs that field of that row, never the run.
#}

{# The text at a path of keys in doc: field('fields', 'patient_id'). An empty text is null. #}
{% macro field() -%}
  nullif(doc #>> '{ {{- varargs | join(',') -}} }', '')
{%- endmacro %}

{# CHT's hierarchy: "contact" has a configurable contact_type, the older types speak for themselves. #}
{% macro contact_type() -%}
  coalesce({{ field('contact_type') }}, {{ field('type') }})
{%- endmacro %}

{% macro is_contact() -%}
  doc ->> 'type' in ('contact', 'person', 'clinic', 'health_center', 'district_hospital')
{%- endmacro %}

{% macro is_person() -%}
  {%- set types = var('person_types') | map('replace', "'", "''") | join("', '") -%}
  (doc ->> 'type' = 'person' or (doc ->> 'type' = 'contact' and coalesce(doc ->> 'contact_type', '') in ('{{ types }}')))
{%- endmacro %}

{# A date at the start of a text (2001-01-27, 2001/1/27, 2001-01-27T10:00:00Z), else null. #}
{% macro as_date(text) -%}
  {%- set day = year_month_day(text) -%}
  case when {{ is_day(day) }} then ({{ day }})::date end
{%- endmacro %}

{#
  A moment: milliseconds since 1970 as CHT's reported_date, as a number or a text, or ISO 8601, in UTC
  where it names no zone. Else null.
#}
{% macro as_timestamp(text) -%}
  {%- set day = year_month_day(text) -%}
  {%- set zone = '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)' -%}
  {%- set time = '[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?' -%}
  case
    when {{ text }} ~ '^-?[0-9]{1,14}([.][0-9]+)?$' then to_timestamp(({{ text }})::double precision / 1000)
    when not {{ is_day(day) }} then null
    when {{ text }} ~ '^[0-9]{4}-[0-9][0-9]-[0-9][0-9]{{ time }}{{ zone }}$' then ({{ text }})::timestamptz
    when {{ text }} ~ '^[0-9]{4}-[0-9][0-9]-[0-9][0-9]({{ time }})?$' then ({{ text }})::timestamp at time zone 'UTC'
  end
{%- endmacro %}

{% macro as_boolean(text) -%}
  case lower({{ text }}) when 'true' then true when 'yes' then true when 'false' then false when 'no' then false end
{%- endmacro %}

{% macro year_month_day(text) -%}
  replace(substring({{ text }} from '^(?!0000)[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}(?![0-9])'), '/', '-')
{%- endmacro %}

{# Whether the calendar has that day. jsonpath is PostgreSQL's way to ask without an error, before 16. #}
{% macro is_day(day) -%}
  coalesce(jsonb_path_exists(to_jsonb({{ day }}), '$.datetime("YYYY-MM-DD")', silent => true), false)
{%- endmacro %}
