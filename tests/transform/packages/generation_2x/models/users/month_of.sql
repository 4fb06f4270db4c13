{{ config(materialized='statement_alone') }}

create or replace function {{ target.schema }}.month_of(moment timestamptz) returns text
language sql immutable as 'select to_char($1 at time zone ''UTC'', ''YYYY-MM'')'
