-- Hold leases for longer: $1 tenant, $2 threads, $3 their epochs, $4 seconds. Rows are locked in
-- the same order as by an append, so that the two never wait for each other.
with mine as (
    select t.thread_id, t.epoch
    from unnest($2::text[], $3::text::bigint[]) as lease (thread_id, epoch)
    join {schema}.threads as t
        on t.tenant = $1 and t.thread_id = lease.thread_id and t.epoch = lease.epoch
    order by t.thread_id
    for no key update of t
)
update {schema}.threads as t
set expires = clock_timestamp() + make_interval(secs => $4)
from mine
where t.tenant = $1 and t.thread_id = mine.thread_id and t.epoch = mine.epoch
returning t.thread_id, t.epoch
