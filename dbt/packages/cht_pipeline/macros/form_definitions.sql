{#
  A form's property file decides what its table is, and dbt takes no change there for a change of the
  model. So each form's table is kept together with the definition that it was built from, and is built
  anew by the next run where that has changed.
#}

{% macro form_definitions_table() -%}
  {{ adapter.quote(target.schema) }}.form_definitions
{%- endmacro %}

{% macro create_form_definitions() %}
  {%- if execute and not adapter.get_relation(target.database, target.schema, 'form_definitions') -%}
    create table if not exists {{ form_definitions_table() }} (
      model text primary key,
      definition text not null
    )
  {%- endif -%}
{% endmacro %}

{% macro form_definition() %}
  {{ return(local_md5(tojson([form_of_model(), declared_columns()]))) }}
{% endmacro %}

{# In place of dbt's macro of this name, which says what the first lines say. #}
{% macro should_full_refresh() %}
  {%- set wanted = config.get('full_refresh') -%}
  {%- if wanted is none -%}
    {%- set wanted = flags.FULL_REFRESH -%}
  {%- endif -%}
  {{ return(wanted or (execute and is_form() and not built_from_this_definition())) }}
{% endmacro %}

{% macro built_from_this_definition() %}
  {%- set found = run_query(
    "select definition from " ~ form_definitions_table() ~ " where model = '" ~ this.identifier ~ "'"
  ).columns[0].values() -%}
  {{ return(found | list == [form_definition()]) }}
{% endmacro %}

{# A post-hook, and the last to ask is_incremental(). #}
{% macro save_form_definition() %}
  {%- if execute and not is_incremental() -%}
  insert into {{ form_definitions_table() }} (model, definition)
  values ('{{ this.identifier }}', '{{ form_definition() }}')
  on conflict (model) do update set definition = excluded.definition
  {%- endif -%}
{% endmacro %}
