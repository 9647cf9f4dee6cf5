-- Items whose namespaces begin alike: $1 how, $2 conditions for their values (JSON), $3 at most,
-- $4 behind so many, $5 whether their time to live begins anew, $6 whether those are hidden whose
-- time is over, $7 a vector to which they are to be near, as the text of an array, or null,
-- $8 what near means. Every vector is looked at.
with found as (
    select i.namespace, i.key, i.value, i.created_at, i.updated_at, near.score
    from {schema}.items as i
    left join lateral (
        select max(case $8
            when 'inner_product' then sums.dot
            when 'l2' then - sqrt(sums.distance)
            else coalesce(sums.dot / nullif(sqrt(sums.one) * sqrt(sums.other), 0), 0)
        end) as score
        from {schema}.vectors as v
        cross join lateral (
            select
                sum(a * b) as dot, sum(a * a) as one, sum(b * b) as other,
                sum((a - b) * (a - b)) as distance
            from unnest(v.vector, $7::text::double precision[]) as pair (a, b)
        ) as sums
        where v.namespace = i.namespace and v.key = i.key
    ) as near on $7 is not null
    where
        i.namespace[1:cardinality($1::text[])] = $1::text[]
        and {schema}.agrees(i.value, $2::text::jsonb)
        and not ($6 and coalesce(i.expires_at <= now(), false))
    order by near.score desc nulls last, i.updated_at desc, i.namespace, i.key
    limit $3 offset $4
), refreshed as (
    update {schema}.items as i set expires_at = now() + i.ttl * interval '1 minute'
    from found
    where $5 and i.ttl is not null and i.namespace = found.namespace and i.key = found.key
)
select namespace, key, value, created_at, updated_at, score
from found
order by score desc nulls last, updated_at desc, namespace, key
