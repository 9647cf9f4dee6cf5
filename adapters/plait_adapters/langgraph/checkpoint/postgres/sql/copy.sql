-- Make a thread that is the same as another one: $1 that one, $2 the new one.
with checkpoints as (
    insert into {schema}.checkpoints (
        thread_id, namespace, checkpoint_id, parent_id, run_id, channels, versions, delta, metadata,
        encoding, data
    )
    select
        $2, namespace, checkpoint_id, parent_id, run_id, channels, versions, delta, metadata,
        encoding, data
    from {schema}.checkpoints
    where thread_id = $1
), found as (
    insert into {schema}.channel_values (thread_id, namespace, channel, version, encoding, data)
    select $2, namespace, channel, version, encoding, data
    from {schema}.channel_values
    where thread_id = $1
)
insert into {schema}.writes (
    place, thread_id, namespace, checkpoint_id, task_id, task_path, channel, encoding, data
)
select place, $2, namespace, checkpoint_id, task_id, task_path, channel, encoding, data
from {schema}.writes
where thread_id = $1
