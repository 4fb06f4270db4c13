{# At the end of each run and each test: what became of the nodes, in a table that is a model itself. #}
{% macro keep_results(results) %}
  -- depends_on: {{ ref('dbt_results') }}
  {%- if execute and results -%}
    {%- set rows = [] -%}
    {%- for result in results -%}
      {%- set result = result.to_dict() -%}
      {%- set node = result['node'] -%}
      {%- do rows.append("('" ~ invocation_id ~ '.' ~ node['unique_id'] ~ "', '" ~ node['name'] ~ "', '"
          ~ result['status'] ~ "', now()::timestamp, " ~ result['execution_time'] ~ ", "
          ~ (result.get('adapter_response', {}).get('rows_affected') or 0) ~ ")") -%}
    {%- endfor -%}
    {%- do run_query("insert into " ~ ref('dbt_results')
        ~ " (result_id, name, status, start_time, execution_time, rows_affected) values " ~ rows | join(', ')) -%}
    {%- do run_query("delete from " ~ ref('dbt_results') ~ " where start_time < now() - interval '14 days'") -%}
  {%- endif -%}
  {{ return('') }}
{% endmacro %}
