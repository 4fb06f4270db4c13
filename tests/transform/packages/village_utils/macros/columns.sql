{# All columns of a relation but some; looked up when the model is compiled. #}
{% macro all_but(relation, left_out=[]) -%}
  {%- set names = [] -%}
  {%- if execute -%}
    {%- for column in adapter.get_columns_in_relation(relation) if column.name not in left_out -%}
      {%- do names.append(adapter.quote(column.name)) -%}
    {%- endfor -%}
  {%- endif -%}
  {{ return(names | join(', ') or '*') }}
{%- endmacro %}

{# One counting column for each value that the column has now. #}
{% macro counts_by(column, relation) -%}
  {%- set values = [] -%}
  {%- if execute -%}
    {%- set found = run_query("select distinct " ~ column ~ " from " ~ relation ~ " order by 1") -%}
    {%- set values = found.columns[0].values() | reject('none') | list -%}
  {%- endif -%}
  {%- for value in values %}
  count(*) filter (where {{ column }} = '{{ value }}') as {{ adapter.quote(value) }},
  {%- endfor %}
  count(*) as total
{%- endmacro %}
