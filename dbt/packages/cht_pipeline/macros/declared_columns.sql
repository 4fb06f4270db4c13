{#
  What a model's property file says of its columns. Names, paths and types come from people and, through
  proposals, from documents: as identifiers and literals they are quoted here, and types are looked up.
#}

{#
  The columns of the model, each with name, data_type, path (keys in the document), in_fields, number, and
  whether a value may be rejected: not that of a text, unless it is a key, and not that of jsonb. `range` is the
  least and the greatest number of a double precision. Without a path, a column is the field of its name. Empty while dbt parses.
#}
{% macro declared_columns() %}
  {%- set found = [] -%}
  {%- for column in (model.columns or {}).values() if execute -%}
    {%- set meta = (column.config or {}).get('meta') or column.meta or {} -%}
    {%- set given = meta.get('path') -%}
    {%- if given is none -%}
      {%- set path = ['fields', column.name] -%}
    {%- elif given is string -%}
      {%- set path = given.split('.') -%}
    {%- else -%}
      {%- set path = given | map('string') | list -%}
    {%- endif -%}
    {%- set data_type = type_of(column) -%}
    {%- set is_key = data_type == 'text' and meta.get('key', false) -%}
    {%- do found.append({
        'name': column.name,
        'data_type': data_type,
        'can_be_rejected': data_type not in ['text', 'jsonb'] or is_key,
        'is_key': is_key,
        'range': meta.get('range'),
        'path': path,
        'has_path': given is not none,
        'in_fields': path[0] == 'fields' and path | length > 1,
        'number': loop.index,
    }) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}

{# The type's one name; text where none is declared. #}
{% macro type_of(column) %}
  {%- set known = {
      'text': 'text', 'varchar': 'text', 'character varying': 'text', 'string': 'text',
      'date': 'date',
      'timestamptz': 'timestamptz', 'timestamp with time zone': 'timestamptz',
      'timestamp': 'timestamp', 'timestamp without time zone': 'timestamp',
      'boolean': 'boolean', 'bool': 'boolean',
      'integer': 'integer', 'int': 'integer', 'int4': 'integer',
      'bigint': 'bigint', 'int8': 'bigint',
      'numeric': 'numeric', 'decimal': 'numeric',
      'double precision': 'double precision', 'float8': 'double precision',
      'jsonb': 'jsonb',
  } -%}
  {%- set wanted = column.data_type or 'text' -%}
  {%- if wanted | lower not in known -%}
    {%- do exceptions.raise_compiler_error(
        model.name ~ ", column " ~ column.name ~ ": the data_type " ~ wanted ~ " cannot be read from a document. "
        ~ "Known are text, date, timestamptz, timestamp, boolean, integer, bigint, numeric, double precision and jsonb."
    ) -%}
  {%- endif -%}
  {{ return(known[wanted | lower]) }}
{% endmacro %}

{# The text at a path, for jsonb the value itself; null where it is empty. #}
{% macro value_at(json, path, data_type='text') -%}
  {%- set keys -%}
    array[{% for key in path %}{{ text_literal(key) }}{{ ', ' if not loop.last }}{% endfor %}]::text[]
  {%- endset -%}
  {%- if data_type == 'jsonb' -%}
    nullif(nullif({{ json }} #> {{ keys }}, 'null'), '""')
  {%- else -%}
    nullif({{ json }} #>> {{ keys }}, '')
  {%- endif -%}
{%- endmacro %}

{# The text read as a type; null where it is none. jsonb is what it is. #}
{% macro read_as(data_type, text, range=none) -%}
  {%- if data_type == 'date' -%} {{ as_date(text) }}
  {%- elif data_type == 'timestamptz' -%} {{ as_timestamp(text) }}
  {%- elif data_type == 'timestamp' -%} ({{ as_timestamp(text) }}) at time zone 'UTC'
  {%- elif data_type == 'boolean' -%} {{ as_boolean(text) }}
  {%- elif data_type == 'bigint' -%} {{ as_integer(text) }}
  {%- elif data_type == 'integer' -%}
    case when {{ as_integer(text) }} between -2147483648 and 2147483647 then ({{ as_integer(text) }})::integer end
  {%- elif data_type == 'numeric' -%} {{ as_numeric(text) }}
  {%- elif data_type == 'double precision' -%} {{ as_double(text, range) }}
  {%- else -%} {{ text }}
  {%- endif -%}
{%- endmacro %}

{# Safe whatever standard_conforming_strings is. #}
{% macro text_literal(text) -%}
  {%- set quoted = text | string | replace("'", "''") -%}
  {%- if '\\' in quoted -%} E'{{ quoted | replace('\\', '\\\\') }}' {%- else -%} '{{ quoted }}' {%- endif -%}
{%- endmacro %}
