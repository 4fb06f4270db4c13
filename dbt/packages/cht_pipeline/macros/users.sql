{# A value over the documents of one user: that of "user-settings", else that of the other. #}
{% macro of_either(value) -%}
  coalesce(max({{ value }}) filter (where doc ->> 'type' = 'user-settings'), max({{ value }}))
{%- endmacro %}

{# The place of a user; the first of several. #}
{% macro facility_of_user() -%}
  coalesce({{ field('facility_id', '0') }}, {{ field('facility_id') }})
{%- endmacro %}
