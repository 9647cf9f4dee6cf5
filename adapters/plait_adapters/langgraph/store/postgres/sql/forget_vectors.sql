-- Remove the vectors of items: $1 their namespaces and keys (JSON).
delete from {schema}.vectors as v
using jsonb_array_elements($1::text::jsonb) as gone
where
    v.namespace = array(select jsonb_array_elements_text(gone -> 'namespace'))
    and v.key = gone ->> 'key'
