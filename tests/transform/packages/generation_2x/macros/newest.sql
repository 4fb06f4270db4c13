{# The greatest value of a column of this model, as a literal that the planner can see. #}
{% macro newest(column) -%}
  {%- call statement('newest', fetch_result=True) -%}
    select max({{ column }}) as newest from "{{ this.schema }}"."{{ this.name }}"
  {%- endcall -%}
  {%- set found = load_result('newest').table.columns['newest'].values()[0] -%}
  {{ return("cast('" ~ (found or '1990-01-01 00:00:00') ~ "' as timestamp)") }}
{%- endmacro %}

{# At most batch_size rows above the newest, and all that share the stamp of the last of them. #}
{% macro next_batch(documents) %}
  , batch as (
    select * from {{ documents }}
    {%- if is_incremental() %}
    where saved_timestamp > {{ newest('saved_timestamp') }}
    {%- endif %}
    {%- if var('batch_size', none) is not none %}
    order by saved_timestamp
    limit {{ var('batch_size') }}
    {%- endif %}
  )

  select * from batch
  union
  select * from {{ documents }} where saved_timestamp = (select max(saved_timestamp) from batch)
{% endmacro %}
