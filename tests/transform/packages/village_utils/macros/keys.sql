{% macro hashed_key(columns) -%}
  {{ return(adapter.dispatch('hashed_key', 'village_utils')(columns)) }}
{%- endmacro %}

{% macro default__hashed_key(columns) -%}
  md5(concat_ws('|'
  {%- for column in columns %}, coalesce({{ column }}::text, '-'){% endfor -%}
  ))
{%- endmacro %}
