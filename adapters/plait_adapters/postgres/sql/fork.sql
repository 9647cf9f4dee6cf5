-- Make a fork: $1 tenant, $2 origin, $3 position, $4 the new thread. The lock waits for a prune or
-- delete of the origin that is under way, and keeps others waiting. No row: not made.
with origin as (
    select position, pruned, origin_position
    from {schema}.threads
    where tenant = $1 and thread_id = $2
    for share
)
insert into {schema}.threads
    (tenant, thread_id, position, origin, origin_position, status, graph, created, updated)
select $1, $4, $3, $2, $3, '', '', now, now
from origin
cross join (select clock_timestamp() as now) as clock
where $3 >= greatest(origin.pruned, coalesce(origin.origin_position, 1))
    and $3 <= greatest(origin.position, (
        select max(e.position) from {schema}.events as e where e.tenant = $1 and e.thread_id = $2
    ))
on conflict (tenant, thread_id) do nothing
returning position
