-- Remove a thread: $1 tenant, $2 thread (locked). Says which fork begins in it; if one does,
-- nothing is removed.
with fork as (
    select thread_id from {schema}.threads where tenant = $1 and origin = $2 limit 1
), gone as (
    delete from {schema}.events
    where tenant = $1 and thread_id = $2 and not exists (select from fork)
), gone_snapshots as (
    delete from {schema}.snapshots
    where tenant = $1 and thread_id = $2 and not exists (select from fork)
), gone_thread as (
    delete from {schema}.threads
    where tenant = $1 and thread_id = $2 and not exists (select from fork)
)
select thread_id from fork
