-- Items of a namespace: $1 namespace, $2 keys, $3 whether their time to live begins anew,
-- $4 whether those are hidden whose time is over.
with found as (
    select namespace, key, value, created_at, updated_at
    from {schema}.items
    where
        namespace = $1::text[] and key = any($2::text[])
        and not ($4 and coalesce(expires_at <= now(), false))
), refreshed as (
    update {schema}.items as i set expires_at = now() + i.ttl * interval '1 minute'
    from found
    where $3 and i.ttl is not null and i.namespace = found.namespace and i.key = found.key
)
select namespace, key, value, created_at, updated_at from found
