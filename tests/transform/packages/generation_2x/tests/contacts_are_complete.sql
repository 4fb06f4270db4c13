select document._id
from {{ source('couchdb', env_var('POSTGRES_TABLE')) }} as document
left join {{ ref('contact') }} as contact on contact.uuid = document._id
where document.doc ->> 'type' in ('contact', 'clinic', 'person')
  and (contact.uuid is null) <> document._deleted
