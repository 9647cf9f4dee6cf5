-- Remove a thread in which nothing has happened: $1 tenant, $2 thread, $3 the epoch of the lease
-- that was given back, so that nobody can be appending.
with gone as (
    delete from {schema}.threads as t
    where t.tenant = $1 and t.thread_id = $2 and t.epoch = -$3::bigint
        and t.origin is null and t.position = 0
        and not exists (
            select from {schema}.events as e where e.tenant = $1 and e.thread_id = $2
        )
    returning t.thread_id
)
delete from {schema}.snapshots
where tenant = $1 and thread_id = $2 and exists (select from gone)
