-- Put items: $1 their namespaces, keys, values and minutes to live (JSON).
insert into {schema}.items (namespace, key, value, created_at, updated_at, ttl, expires_at)
select
    array(select jsonb_array_elements_text(item -> 'namespace')), item ->> 'key', item -> 'value',
    now(), now(), (item ->> 'ttl')::double precision,
    now() + (item ->> 'ttl')::double precision * interval '1 minute'
from jsonb_array_elements($1::text::jsonb) as item
on conflict (namespace, key) do update set
    value = excluded.value, updated_at = excluded.updated_at, ttl = excluded.ttl,
    expires_at = excluded.expires_at
