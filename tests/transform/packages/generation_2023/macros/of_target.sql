{# Tests of the package read a seed in place of the documents. #}
{% macro of_target(documents, seed) %}
  {% if target.name == 'test' %}
    {{ return(seed) }}
  {% endif %}
  {{ return(documents) }}
{% endmacro %}
