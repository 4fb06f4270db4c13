{#
  The first day that a telemetry document covers, as YYYY-MM-DD: a month where it names no day. Before
  3.8 the app counted months from 0. Null where year or month cannot be read.
#}
{% macro telemetry_day() -%}
  {%- set number = '^[0-9]{1,4}$' -%}
  (
    select concat_ws('-',
      lpad(written.year, 4, '0'),
      lpad((written.month::int + case when written.version < '{3,8,0}'::int[] then 1 else 0 end)::text, 2, '0'),
      lpad(coalesce(written.day, '1'), 2, '0')
    )
    from (
      select
        substring({{ field('metadata', 'year') }} from '{{ number }}') as year,
        substring({{ field('metadata', 'month') }} from '^[0-9]{1,2}$') as month,
        {{ field('metadata', 'day') }} as day,
        string_to_array(substring({{ field('metadata', 'versions', 'app') }} from '^[0-9]{1,4}[.][0-9]{1,4}[.][0-9]{1,4}'), '.')::int[]
          as version
    ) as written
    where written.year is not null and written.month is not null
  )
{%- endmacro %}
