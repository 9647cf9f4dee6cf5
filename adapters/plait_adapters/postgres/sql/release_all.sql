-- Give leases back, as release.sql does: $1 tenant, $2 threads in order, $3 their epochs, $4 their
-- statuses. Those whose epoch is not the current one are left out, and those whose row is locked:
-- nobody here waits for the threads of others.
with mine as (
    select t.thread_id, t.epoch, t.position, lease.status
    from unnest($2::text[], $3::text::bigint[], $4::text[])
        with ordinality as lease (thread_id, epoch, status, number)
    join {schema}.threads as t
        on t.tenant = $1 and t.thread_id = lease.thread_id and t.epoch = lease.epoch
    order by lease.number
    for no key update of t skip locked
)
update {schema}.threads as t
set epoch = -t.epoch,
    holder = null,
    expires = null,
    status = mine.status,
    updated = clock_timestamp(),
    position = coalesce(late.position, t.position),
    size = t.size + coalesce(late.size, 0)
from mine
cross join lateral (
    select max(e.position) as position, sum(octet_length(e.data))::bigint as size
    from {schema}.events as e
    where e.tenant = $1 and e.thread_id = mine.thread_id and e.position > mine.position
) as late
where t.tenant = $1 and t.thread_id = mine.thread_id and t.epoch = mine.epoch
returning mine.thread_id, mine.epoch, t.position = 0 and t.origin is null as is_empty
