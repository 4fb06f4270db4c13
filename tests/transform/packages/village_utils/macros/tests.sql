{% test at_most_rows_of(model, compare_model) %}
  {{ config(fail_calc='coalesce(sum(too_many), 0)') }}
  select greatest((select count(*) from {{ model }}) - (select count(*) from {{ compare_model }}), 0) as too_many
{% endtest %}

{% test together_unique(model, combination) %}
  select {{ combination | join(', ') }}
  from {{ model }}
  group by {{ combination | join(', ') }}
  having count(*) > 1
{% endtest %}
