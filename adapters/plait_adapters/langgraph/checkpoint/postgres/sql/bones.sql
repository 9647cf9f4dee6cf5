-- What matters of each checkpoint when some are removed: $1 thread, $2 namespace.
select
    c.checkpoint_id, c.parent_id, c.run_id, c.delta,
    array(
        select v.channel::text
        from unnest(c.channels, c.versions) as known (channel, version)
        join {schema}.channel_values as v
            on v.thread_id = c.thread_id and v.namespace = c.namespace
            and v.channel = known.channel and v.version = known.version
    ) as stored
from {schema}.checkpoints as c
where c.thread_id = $1 and c.namespace = $2
