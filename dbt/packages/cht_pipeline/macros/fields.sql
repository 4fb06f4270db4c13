{#
  Values of a document. Documents are written by many versions of many apps, so every cast here takes
  an expression of type text and yields null for what it cannot read: one wrong value costs that field
  of that row, never the run. "text is not null and cast is null" is thus a value that was rejected.

    as_date       date          as_integer    bigint
    as_timestamp  timestamptz   as_numeric    numeric
    as_boolean    boolean       as_double     double precision

  Every pattern says how many digits there may be: PostgreSQL's own casts fail where there are too many.
#}

{# The text at a path of keys in doc: field('fields', 'patient_id'). An empty text is null. #}
{% macro field() -%}
  nullif(doc #>> '{ {{- varargs | join(',') -}} }', '')
{%- endmacro %}

{#
  A text for a column with an index: null where it has more than 1,000 bytes. An index takes no more than
  2,704, and a row that does not fit would stop the model. A column that is one says so with
  config.meta.key, and is in rejected() then. With unnest, the text is looked up once.
#}
{% macro key(text) -%}
  (select given from unnest(array[{{ text }}]) as given where not {{ is_too_long('given') }})
{%- endmacro %}

{% macro is_too_long(text) -%}
  octet_length({{ text }}) > 1000
{%- endmacro %}

{# The id of a document at a path of keys in doc: a key, of the same collation as uuid, so that indexes serve joins. #}
{% macro document_id() -%}
  ({{ key(field(*varargs)) }} collate "C")
{%- endmacro %}

{# A date at the start of a text (2001-01-27, 2001/1/27, 2001-01-27T10:00:00Z), else null. #}
{% macro as_date(text) -%}
  {%- set day = year_month_day(text) -%}
  case when {{ is_day(day) }} then ({{ day }})::date end
{%- endmacro %}

{#
  A moment: milliseconds since 1970 as CHT's reported_date, as a number or a text, or ISO 8601, in UTC
  where it names no zone. Else null.
#}
{% macro as_timestamp(text) -%}
  {%- set day = year_month_day(text) -%}
  {%- set zone = '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)' -%}
  {%- set time = '[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,30})?)?' -%}
  case
    when {{ text }} ~ '^-?[0-9]{1,14}([.][0-9]{1,30})?$' then to_timestamp(({{ text }})::double precision / 1000)
    when not {{ is_day(day) }} then null
    when {{ text }} ~ '^[0-9]{4}-[0-9][0-9]-[0-9][0-9]{{ time }}{{ zone }}$' then ({{ text }})::timestamptz
    when {{ text }} ~ '^[0-9]{4}-[0-9][0-9]-[0-9][0-9]({{ time }})?$' then ({{ text }})::timestamp at time zone 'UTC'
  end
{%- endmacro %}

{# true and false, as JSON or as text, yes and no, 1 and 0; else null. #}
{% macro as_boolean(text) -%}
  case
    when lower({{ text }}) in ('true', 'yes', '1') then true
    when lower({{ text }}) in ('false', 'no', '0') then false
  end
{%- endmacro %}

{# A whole number of up to 18 digits, also one written as 12.0; else null. #}
{% macro as_integer(text) -%}
  case when {{ text }} ~ '^ *[+-]?[0-9]{1,18}([.]0{0,100})? *$' then trunc(({{ text }})::numeric)::bigint end
{%- endmacro %}

{# A decimal number of up to 100 digits before and after the point, also with an exponent; else null. #}
{% macro as_numeric(text) -%}
  case
    when {{ text }} ~ '^ *[+-]?([0-9]{1,100}([.][0-9]{0,100})?|[.][0-9]{1,100})([eE][+-]?[0-9]{1,3})? *$'
      then ({{ text }})::numeric
  end
{%- endmacro %}

{#
  A number between two others (both included) as double precision, with 15 digits after the point; else null.
  PostgreSQL's cast fails for what is too large, and for what is too small.
#}
{% macro as_double(text, range=none) -%}
  {%- set least, greatest = range or [-1000000000000000, 1000000000000000] -%}
  (
    select round(number, 15)::double precision
    from unnest(array[{{ as_numeric(text) }}]) as number where number between {{ least }} and {{ greatest }}
  )
{%- endmacro %}

{% macro year_month_day(text) -%}
  replace(substring({{ text }} from '^(?!0000)[0-9]{4}[-/](?:0?[1-9]|1[0-2])[-/](?:0?[1-9]|[12][0-9]|3[01])(?![0-9])'), '/', '-')
{%- endmacro %}

{# Whether the calendar has that day. jsonpath is PostgreSQL's way to ask without an error, before 16. #}
{% macro is_day(day) -%}
  coalesce(jsonb_path_exists(to_jsonb({{ day }}), '$.datetime("YYYY-MM-DD")', silent => true), false)
{%- endmacro %}
