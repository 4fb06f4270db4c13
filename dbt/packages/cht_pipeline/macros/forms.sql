{#
  The table of one form, from the columns that its property file declares. A form is two files:

    models/forms/pregnancy.sql   {{ form() }}
    models/forms/pregnancy.yml   columns with data_type and, where the name does not say it, config.meta.path

  Reports are read from data_record, which has an index on the form: a form costs what its own reports
  cost. A path outside `fields` is read from the document.
#}
{% macro form() %}
  {{- config(indexes=[
      {'columns': ['uuid']}, {'columns': ['reported']}, {'columns': ['contact_uuid']}, {'columns': ['patient_uuid']}
  ]) -}}
  {%- set reports = ref('data_record') -%}
  {%- set metadata = ref('document_metadata') -%}
  {%- set documents = source('couchdb', 'all_documents') -%}
  {%- set of_report = columns_of_every_form() -%}
  {%- set answers = answers_of_form(of_report) -%}
  {%- set in_document = answers | rejectattr('in_fields') | list -%}
select
  {%- for name in of_report %}
  report.{{ name }},
  {%- endfor %}
  {%- for answer in answers %}
  answer.{{ adapter.quote(answer.name) }},
  {%- endfor %}
  {{ rejected_as_json(answers, 'report.text_', 'answer.') }} as rejected_values
from (
  select
    {%- for name in of_report %}
    data_record.{{ name }}{{ ',' if not loop.last or answers }}
    {%- endfor %}
    {%- for answer in answers %}
    {{ answer_in_report(answer) }} as text_{{ answer.number }}{{ ',' if not loop.last }}
    {%- endfor %}
  from {{ reports }} as data_record
  {%- if in_document %}
  join {{ documents }} as document
    on document._id = data_record.uuid and document.source is not distinct from data_record.source
  {%- endif %}
  where data_record.form = {{ text_literal(form_of_model()) }}
  {%- if is_incremental() %}
    and {{ is_changed('data_record.uuid', changes_since_last_run(this, metadata), metadata) }}
  {%- endif %}
  {#- Each text is looked up once, however often its cast names it. #}
  offset 0
) as report
cross join lateral (
  select
    {%- for answer in answers %}
    {%- set text = 'report.text_' ~ answer.number %}
    {{ key(text) if answer.is_key else read_as(answer.data_type, text, answer.range) }} as {{ adapter.quote(answer.name) }}
    {{- ',' if not loop.last }}
    {%- endfor %}
  offset 0
) as answer
{% endmacro %}

{# What each form's table has before its own columns, as data_record has it. #}
{% macro columns_of_every_form() %}
  {{ return(['uuid', 'source', 'saved_timestamp', 'reported', 'contact_uuid', 'patient_id', 'patient_uuid']) }}
{% endmacro %}

{# The form's own columns. Those of every form may be described in the file, and are what they are. #}
{% macro answers_of_form(of_report) %}
  {%- set found = [] -%}
  {%- for column in declared_columns() -%}
    {%- if column.name == 'rejected_values' or (column.name in of_report and column.has_path) -%}
      {%- do exceptions.raise_compiler_error(
          model.name ~ ", column " ~ column.name ~ ": this name has a meaning in every form's table. Give it another name."
      ) -%}
    {%- elif column.name not in of_report -%}
      {%- do found.append(column) -%}
    {%- endif -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}

{# The form's code: config.meta.form, else the model's name. #}
{% macro form_of_model() %}
  {{ return((model.config.meta or {}).get('form') or model.name) }}
{% endmacro %}

{% macro answer_in_report(answer) -%}
  {%- if answer.in_fields -%}
    {{ value_at('data_record.fields', answer.path[1:], answer.data_type) }}
  {%- else -%}
    {{ value_at('document.doc', answer.path, answer.data_type) }}
  {%- endif -%}
{%- endmacro %}

{#
  A form has read as far as data_record had when it was read, which is less than document_metadata says
  where a run left data_record out.
#}
{% macro save_progress_of_form() %}
  insert into {{ model_progress_table() }} (model, saved_timestamp)
  select '{{ this.identifier }}', saved_timestamp
  from {{ model_progress_table() }} where model = '{{ ref('data_record').identifier }}'
  on conflict (model) do update set saved_timestamp = excluded.saved_timestamp
  where model_progress.saved_timestamp <> excluded.saved_timestamp
{% endmacro %}
