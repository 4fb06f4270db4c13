{{ config(indexes=[
    {'columns': ['uuid']},
    {'columns': ['parent_uuid']},
    {'columns': ['ancestor_uuids'], 'type': 'gin'},
]) }}

{%- set contact = ref('contact') %}
{%- set shown = 'uuid, source, name, contact_type, parent_uuid' %}

with recursive
{%- if is_incremental() %}
{%- set changes = changes_since_last_run(this, ref('document_metadata')) %}
{%- set is_changed = is_changed('uuid', changes, ref('document_metadata')) %}
{#
  A contact is made anew when it changed, and when a contact above it changed in what its descendants
  show of it. Those are found by walking down from the latter: a contact that left a place has itself
  changed. LIMIT ALL has each step of the walk look up by index.
#}
changed as materialized (
  select {{ shown }}
  from {{ contact }}
  where {{ is_changed }}
),

changed_before as materialized (
  select {{ shown }}
  from {{ this }}
  where {{ is_changed }}
),

appeared as (
  select * from changed
  except all
  select * from changed_before
),

disappeared as (
  select * from changed_before
  except all
  select * from changed
),

affected (uuid) as (
  select uuid
  from (
    select * from appeared
    union all
    select * from disappeared
  ) as different
  union
  select child.uuid
  from affected
  cross join lateral (
    select uuid
    from {{ contact }}
    where parent_uuid = affected.uuid
    limit all
  ) as child
),

wanted as materialized (
  select {{ shown }}, saved_timestamp
  from {{ contact }}
  where uuid = any(array(select uuid from changed)) or uuid = any(array(select uuid from affected))
),
{%- else %}
wanted as (
  select {{ shown }}, saved_timestamp
  from {{ contact }}
),
{%- endif %}

{#
  One step up for each row, until there is no parent, or it is missing, or it was met before. Contacts
  of databases whose source is unknown may share an id; which of them is the parent is then settled by
  what they say, so that every run agrees.
#}
climb as (
  select
    wanted.*,
    parent_uuid collate "C" as next_uuid,
    '{}'::text [] collate "C" as ancestor_uuids,
    '{}'::text [] as ancestor_names,
    '{}'::text [] as ancestor_types,
    true as complete
  from wanted
  union all
  select
    climb.uuid,
    climb.source,
    climb.name,
    climb.contact_type,
    climb.parent_uuid,
    climb.saved_timestamp,
    parent.parent_uuid collate "C" as next_uuid,
    array_prepend(climb.next_uuid, climb.ancestor_uuids) as ancestor_uuids,
    array_prepend(parent.name, climb.ancestor_names) as ancestor_names,
    array_prepend(parent.contact_type, climb.ancestor_types) as ancestor_types,
    parent.uuid is not null as complete
  from climb
  left join lateral (
    select {{ shown }}
    from {{ contact }}
    where uuid = climb.next_uuid and source is not distinct from climb.source
    order by parent_uuid, contact_type, name
    limit 1
  ) as parent on true
  where climb.next_uuid <> all(climb.uuid || climb.ancestor_uuids)
)

select
  uuid,
  source,
  saved_timestamp,
  name,
  contact_type,
  parent_uuid,
  cardinality(ancestor_uuids) as depth,
  ancestor_uuids,
  ancestor_names,
  ancestor_types,
  complete and next_uuid is null as complete
from climb
where next_uuid is null or next_uuid = any(uuid || ancestor_uuids)
