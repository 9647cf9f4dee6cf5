-- Store one record, as append.sql does: $1 tenant, $2 thread, $3 epoch, $4 position, $5 data.
-- No row: the epoch is not the current one.
with leased as (
    select epoch, pruned
    from {schema}.threads
    where tenant = $1 and thread_id = $2 and epoch = $3
    for share
), stored as (
    insert into {schema}.events as e (position, epoch, tenant, thread_id, data)
    select $4, leased.epoch, $1, $2, $5
    from leased
    where $4 > leased.pruned
    on conflict (tenant, thread_id, position) do update set epoch = excluded.epoch
    where case when e.epoch = excluded.epoch then false
        else 1 / (excluded.epoch - excluded.epoch) > 0 end
)
select from leased
