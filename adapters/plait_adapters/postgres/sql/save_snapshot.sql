-- Keep a snapshot: $1 tenant, $2 thread, $3 epoch, $4 position, $5 data. No row: fenced.
with leased as (
    select from {schema}.threads
    where tenant = $1 and thread_id = $2 and epoch = $3
    for share
)
insert into {schema}.snapshots (tenant, thread_id, position, data)
select $1, $2, $4, $5 from leased
on conflict (tenant, thread_id, position) do update set data = excluded.data
returning position
