-- Remove events up to a position: $1 tenant, $2 thread (locked), $3 position. Says whether there is
-- a snapshot at it, and which fork begins before it; if these forbid it, nothing is removed.
with snapshot as (
    select from {schema}.snapshots where tenant = $1 and thread_id = $2 and position = $3
), fork as (
    select thread_id, origin_position
    from {schema}.threads
    where tenant = $1 and origin = $2 and origin_position < $3
    order by origin_position
    limit 1
), allowed as (
    select where exists (select from snapshot) and not exists (select from fork)
), gone as (
    delete from {schema}.events
    where tenant = $1 and thread_id = $2 and position <= $3 and exists (select from allowed)
), gone_snapshots as (
    delete from {schema}.snapshots
    where tenant = $1 and thread_id = $2 and position < $3 and exists (select from allowed)
), counted as (
    update {schema}.threads as t
    set pruned = greatest(t.pruned, $3),
        position = coalesce(kept.position, t.position),
        size = coalesce(kept.size, 0)
    from (
        select max(e.position) as position,
            sum(octet_length(e.data)) filter (where e.position > $3) as size
        from {schema}.events as e
        where e.tenant = $1 and e.thread_id = $2
    ) as kept
    where t.tenant = $1 and t.thread_id = $2 and exists (select from allowed)
)
select
    exists (select from snapshot) as has_snapshot,
    (select thread_id from fork) as fork,
    (select origin_position from fork) as fork_position
