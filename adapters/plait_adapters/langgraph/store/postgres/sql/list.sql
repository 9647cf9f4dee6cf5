-- Namespaces in which there are items: $1 conditions (JSON), $2 cut to so many labels, or null,
-- $3 at most, $4 behind so many, $5 whether items are hidden whose time is over.
select distinct namespace[:coalesce($2::integer, cardinality(namespace))] as namespace
from {schema}.items
where
    {schema}.is_match(namespace, $1::text::jsonb)
    and not ($5 and coalesce(expires_at <= now(), false))
order by 1
limit $3 offset $4
