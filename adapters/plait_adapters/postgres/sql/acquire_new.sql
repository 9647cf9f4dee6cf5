-- Take the leases of threads that are new: $1 tenant, $2 threads in order, $3 their holders, $4
-- seconds for each, $5 their graphs. Those that are there already, or twice, are left out: for
-- these there is acquire.sql, which may have to wait for a row.
insert into {schema}.threads as t
    (tenant, thread_id, holder, expires, graph, status, created, updated)
select $1, lease.thread_id, lease.holder, now + make_interval(secs => lease.seconds), lease.graph,
    '', now, now
from unnest($2::text[], $3::text[], $4::text::float8[], $5::text[])
    with ordinality as lease (thread_id, holder, seconds, graph, number)
cross join (select clock_timestamp() as now) as clock
order by lease.number
on conflict (tenant, thread_id) do nothing
returning
    t.thread_id,
    t.epoch,
    t.holder,
    extract(epoch from t.expires)::float8 as expires,
    extract(epoch from t.created)::float8 as created
