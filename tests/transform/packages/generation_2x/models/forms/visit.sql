{{ form_model(
    'visit',
    "nullif(document.doc #>> '{fields,weight}', '')::double precision as weight",
    indexes=[{'columns': ['reported_by']}]
) }}
