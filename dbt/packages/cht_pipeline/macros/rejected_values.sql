{#
  Values that were there and could not be read as their column's type, kept in rejected_values.

  A model selects, as its last column, rejected_values: an object of column names and texts, null for
  most rows. It is made in the same reading as the row itself, so no document is read twice. The column
  never reaches the model's table: the strategy replace_changed and, for a table just built, a post-hook
  move it to the table rejected_values, in the transaction of the model's rows.
#}

{#
  The column, for a model over changed_documents() whose columns declare data_type and config.meta.path.
  Texts of `absent` stand for no value. `texts` has the expressions of columns that come from several paths.
#}
{% macro rejected(absent=[], texts={}) -%}
  {%- set columns = declared_columns() | selectattr('has_path') | list -%}
  {%- set texts = dict(texts) -%}
  {%- for column in columns if column.name not in texts -%}
    {%- set text = namespace(sql=value_at('doc', column.path)) -%}
    {%- for word in absent -%}
      {%- set text.sql = "nullif(" ~ text.sql ~ ", " ~ text_literal(word) ~ ")" -%}
    {%- endfor -%}
    {%- do texts.update({column.name: text.sql}) -%}
  {%- endfor -%}
  {{ rejected_as_json(columns, texts) }} as rejected_values
{%- endmacro %}

{#
  An object of the columns that were rejected. `texts` is a mapping from names to expressions, or the start
  of one that ends with the column's number; `values` is where the columns were cast already.
#}
{% macro rejected_as_json(columns, texts, values=none) -%}
  {%- set found = [] -%}
  {%- for column in columns if column.can_be_rejected -%}
    {%- set text = texts[column.name] if texts is mapping else texts ~ column.number -%}
    {%- set value = values ~ adapter.quote(column.name) if values else '(' ~ read_as(column.data_type, text, column.range) ~ ')' -%}
    {%- set unread = is_too_long(text) if column.is_key else text ~ ' is not null and ' ~ value ~ ' is null' -%}
    {%- do found.append({
        'name': text_literal(column.name),
        'text': text,
        'condition': unread,
    }) -%}
  {%- endfor -%}
  {%- if not found -%}
    null::jsonb
  {%- else -%}
  {#- The object is made for the few rows that need one. #}
  case when {% for one in found %}({{ one.condition }}){{ ' or ' if not loop.last }}{% endfor %}
    then jsonb_strip_nulls(jsonb_object(
      array[{{ found | map(attribute='name') | join(', ') }}],
      array[
        {%- for one in found %}
        case when {{ one.condition }} then left({{ one.text }}, 200) end{{ ',' if not loop.last }}
        {%- endfor %}
      ]
    ))
  end
  {%- endif -%}
{%- endmacro %}

{% macro rejected_values_table() -%}
  {{ adapter.quote(target.schema) }}.rejected_values
{%- endmacro %}

{# Here and not in its model, so that any selection of models finds it. #}
{% macro create_rejected_values() %}
  {%- if execute and not adapter.get_relation(target.database, target.schema, 'rejected_values') -%}
    create table if not exists {{ rejected_values_table() }} (
      source text,
      uuid text not null,
      saved_timestamp timestamp not null,
      model text not null,
      column_name text not null,
      path text not null,
      value text not null,
      data_type text not null,
      form text
    );
    create index if not exists rejected_values_model_uuid on {{ rejected_values_table() }} (model, uuid);
    create index if not exists rejected_values_uuid on {{ rejected_values_table() }} (uuid)
  {%- endif -%}
{% endmacro %}

{% macro selects_rejected_values() %}
  {{ return('as rejected_values' in (model.compiled_code or '')) }}
{% endmacro %}

{# Part of the strategy replace_changed: what it does with rows, for their rejected values. #}
{% macro replace_rejected_values(temp_relation, changes, metadata) %}
  {%- if selects_rejected_values() -%}
  delete from {{ rejected_values_table() }}
  where model = '{{ this.identifier }}'
  {%- if not changes.everything %}
    and ({{ is_changed('uuid', changes, metadata) }} or uuid = any(array(select uuid from {{ temp_relation }})))
  {%- endif %};

  {{ insert_rejected_values(temp_relation) }};
  {%- endif -%}
{% endmacro %}

{# A post-hook, in the transaction that builds the table. #}
{% macro move_rejected_values() %}
  {%- if execute and selects_rejected_values() and not is_incremental() -%}
  delete from {{ rejected_values_table() }} where model = '{{ this.identifier }}';
  {{ insert_rejected_values(this) }};
  alter table {{ this }} drop column rejected_values
  {%- endif -%}
{% endmacro %}

{% macro insert_rejected_values(relation) %}
  {%- set columns = declared_columns() | selectattr('can_be_rejected') | list -%}
  insert into {{ rejected_values_table() }}
    (source, uuid, saved_timestamp, model, column_name, path, value, data_type, form)
  select
    rows_of_model.source,
    rows_of_model.uuid,
    rows_of_model.saved_timestamp,
    '{{ this.identifier }}',
    declared.column_name,
    declared.path,
    rejected.value,
    declared.data_type,
    {{ 'rows_of_model.form' if 'form' in model.columns else text_literal(form_of_model()) if is_form() else 'null' }}
  from {{ relation }} as rows_of_model
  cross join lateral jsonb_each_text(rows_of_model.rejected_values) as rejected (column_name, value)
  join (values
    (null, null, null)
    {%- for column in columns %},
    ({{ text_literal(column.name) }}, {{ text_literal(column.path | join('.')) }}, '{{ column.data_type }}')
    {%- endfor %}
  ) as declared (column_name, path, data_type) on declared.column_name = rejected.column_name
  where rows_of_model.rejected_values is not null
{% endmacro %}

{% macro is_form() %}
  {{ return(modules.re.search('[{][{]-?\\s*form[(]', model.raw_code or '') is not none) }}
{% endmacro %}

{#
  rejected_values is filled by the models whose values it holds, and a full refresh of it alone could not
  fill it again. Its own run forgets the models that are gone.
#}
{% materialization filled_by_models, adapter='postgres' %}
  {%- set models = [] -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
    {%- do models.append(text_literal(node.alias)) -%}
  {%- endfor -%}
  {%- call statement('main') -%}
    delete from {{ rejected_values_table() }} where model not in ({{ models | join(', ') }})
  {%- endcall -%}
  {%- do adapter.commit() -%}
  {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}
