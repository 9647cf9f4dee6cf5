-- Remove items: $1 their namespaces and keys (JSON).
delete from {schema}.items as i
using jsonb_array_elements($1::text::jsonb) as gone
where
    i.namespace = array(select jsonb_array_elements_text(gone -> 'namespace'))
    and i.key = gone ->> 'key'
