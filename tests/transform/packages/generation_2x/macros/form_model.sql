{# A table for one form, with its settings: all that a model of a form has to say. #}
{% macro form_model(form, columns, indexes=[]) %}
  {{ config(
    materialized='incremental',
    unique_key='uuid',
    on_schema_change='append_new_columns',
    indexes=[{'columns': ['uuid'], 'type': 'hash'}, {'columns': ['saved_timestamp']}] + indexes
  ) }}

  select
    report.uuid,
    report.saved_timestamp,
    report.contact_uuid as reported_by,
    {{ columns }}
  from {{ ref('data_record') }} as report
  join {{ env_var('POSTGRES_SCHEMA') }}.{{ env_var('POSTGRES_TABLE') }} as document on document._id = report.uuid
  where report.form = '{{ form }}'
  {%- if is_incremental() %}
    and report.saved_timestamp >= {{ newest('saved_timestamp') }}
  {%- endif %}
{% endmacro %}
