{#
  CHT's contacts. A document of type "contact" has a configurable contact_type; the older types speak
  for themselves.
#}

{% macro contact_doc_types() -%}
  {{ return(['contact', 'person', 'clinic', 'health_center', 'district_hospital']) }}
{%- endmacro %}

{% macro contact_type() -%}
  coalesce({{ key(field('contact_type')) }}, {{ field('type') }})
{%- endmacro %}

{% macro is_person() -%}
  {%- set types = person_types() | map('replace', "'", "''") | join("', '") -%}
  (doc ->> 'type' = 'person' or (doc ->> 'type' = 'contact' and coalesce(doc ->> 'contact_type', '') in ('{{ types }}')))
{%- endmacro %}

{#
  The contact types whose contacts are people: those of the variable person_types, and those that the
  CHT's settings, in any of the databases, call a person. Models that ask for it depend on the document
  "settings": see changes_since_last_run.
#}
{% macro person_types() %}
  {%- if not execute -%}
    {{ return(var('person_types')) }}
  {%- endif -%}
  {%- set configured = run_query(
    "select distinct " ~ configured_type() ~ " from " ~ source('couchdb', 'all_documents') ~ ", "
    ~ configured_types() ~ " where _id = 'settings' and not _deleted and " ~ configured_as_person()
    ~ " and " ~ configured_type() ~ " is not null order by 1"
  ).columns[0].values() -%}
  {{ return((var('person_types') + configured | list) | unique | list) }}
{% endmacro %}

{# The contact types in the document "settings", one row each. Any other shape of document has none. #}
{% macro configured_types() -%}
  jsonb_path_query(doc, '$.settings.contact_types[*]') as configured(settings)
{%- endmacro %}

{% macro configured_type() -%}
  nullif(settings ->> 'id', '')
{%- endmacro %}

{% macro configured_as_person() -%}
  coalesce(settings ->> 'person' = 'true', false)
{%- endmacro %}
