-- Give a lease back: $1 tenant, $2 thread, $3 epoch, $4 status. No row: it is not the current
-- one, or the row was changed under way, and one should look again.
update {schema}.threads as t
set epoch = -t.epoch,
    holder = null,
    expires = null,
    status = $4,
    updated = clock_timestamp(),
    position = coalesce(late.position, t.position),
    size = t.size + coalesce(late.size, 0)
from (
    select known.position as base, late.position, late.size
    from {schema}.threads as known
    cross join lateral (
        select max(e.position) as position, sum(octet_length(e.data))::bigint as size
        from {schema}.events as e
        where e.tenant = $1 and e.thread_id = $2 and e.position > known.position
    ) as late
    where known.tenant = $1 and known.thread_id = $2
) as late
where t.tenant = $1 and t.thread_id = $2 and t.epoch = $3 and t.position = late.base
returning t.position = 0 and t.origin is null as is_empty
