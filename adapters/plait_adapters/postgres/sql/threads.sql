-- A page of threads: $1 tenant, $2 and $3 update time and id of the one before it, $4 how many.
select
    t.thread_id,
    coalesce(late.position, t.position) as position,
    t.pruned,
    t.size + coalesce(late.size, 0) as size,
    case when t.holder is null then t.status else 'running' end as status,
    t.graph,
    case when t.expires > statement_timestamp() then t.holder end as holder,
    case when t.expires > statement_timestamp()
        then extract(epoch from t.expires)::float8 end as expires,
    extract(epoch from t.created)::float8 as created,
    extract(epoch from t.updated)::float8 as updated,
    t.origin,
    t.origin_position
from (
    select *
    from {schema}.threads
    where tenant = $1
        and updated <= to_timestamp($2::float8)
        and (updated < to_timestamp($2::float8) or thread_id > $3)
    order by updated desc, thread_id
    limit $4
) as t
cross join lateral (
    select max(e.position) as position, sum(octet_length(e.data))::bigint as size
    from {schema}.events as e
    where e.tenant = t.tenant and e.thread_id = t.thread_id and e.position > t.position
) as late
order by t.updated desc, t.thread_id
