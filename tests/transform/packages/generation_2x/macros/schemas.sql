{# Whatever schema a model asks for, it is written to the one of the profile. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ target.schema }}
{%- endmacro %}
