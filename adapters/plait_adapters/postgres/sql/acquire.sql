-- Take a lease: $1 tenant, $2 thread, $3 holder, $4 seconds, $5 graph. No row: somebody else
-- holds it. In the part behind "do update" the clock is read after waiting for the row.
insert into {schema}.threads as t
    (tenant, thread_id, holder, expires, graph, status, created, updated)
select $1, $2, $3, now + make_interval(secs => $4), $5, '', now, now
from (select clock_timestamp() as now) as clock
on conflict (tenant, thread_id) do update set
    epoch = default,
    holder = excluded.holder,
    expires = clock_timestamp() + make_interval(secs => $4),
    graph = excluded.graph,
    -- Whoever lost the lease has not said how its run ended.
    status = case when t.holder <> excluded.holder then 'running' else t.status end,
    updated = clock_timestamp()
where t.holder is null or t.holder = excluded.holder or t.expires <= clock_timestamp()
returning
    t.epoch,
    t.created = t.updated as is_new,
    t.status,
    case when t.expires > clock_timestamp() then t.holder end as holder,
    case when t.expires > clock_timestamp() then extract(epoch from t.expires)::float8 end as expires,
    extract(epoch from t.created)::float8 as created
