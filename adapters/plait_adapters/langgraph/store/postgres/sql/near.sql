-- Items whose texts are near, by an index that need not look at every vector: $1 how their namespaces
-- begin, $2 conditions for their values (JSON), $3 at most, $4 behind so many, $5 whether their time
-- to live begins anew, $6 whether those are hidden whose time is over, $7 a vector, $8 how many texts
-- to look at. `seen`: how many there were.
with near as materialized (
    select v.namespace, v.key, v.vector::{type} operator({home}.{operator}) $7::text::{type} as distance
    from {schema}.vectors as v
    join {schema}.items as i using (namespace, key)
    where
        cardinality(v.vector) = {dims}
        and v.namespace[1:cardinality($1::text[])] = $1::text[]
        and {schema}.agrees(i.value, $2::text::jsonb)
        and not ($6 and coalesce(i.expires_at <= now(), false))
    order by v.vector::{type} operator({home}.{operator}) $7::text::{type}
    limit $8
), found as (
    select i.namespace, i.key, i.value, i.created_at, i.updated_at, best.distance
    from (
        -- A vector without length has no direction: it is no nearer than one at a right angle.
        select namespace, key, min(coalesce(nullif(distance, 'NaN'), 1)) as distance
        from near
        group by namespace, key
    ) as best
    join {schema}.items as i using (namespace, key)
    order by best.distance, i.updated_at desc, i.namespace, i.key
    limit $3 offset $4
), refreshed as (
    update {schema}.items as i set expires_at = now() + i.ttl * interval '1 minute'
    from found
    where $5 and i.ttl is not null and i.namespace = found.namespace and i.key = found.key
)
select
    namespace, key, value, created_at, updated_at, {score} as score,
    (select count(*) from near) as seen
from found
order by distance, updated_at desc, namespace, key
