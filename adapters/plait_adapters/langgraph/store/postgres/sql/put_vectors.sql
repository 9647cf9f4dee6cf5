-- Put the vectors of items: $1 their namespaces, keys, paths and numbers (JSON).
insert into {schema}.vectors (namespace, key, path, vector)
select
    array(select jsonb_array_elements_text(item -> 'namespace')), item ->> 'key', item ->> 'path',
    array(select number::double precision from jsonb_array_elements_text(item -> 'vector') as number)
from jsonb_array_elements($1::text::jsonb) as item
