-- Remove values that no checkpoint has: $1 thread, $2 namespace.
delete from {schema}.channel_values
where thread_id = $1 and namespace = $2 and (channel, version) not in (
    select known.channel, known.version
    from {schema}.checkpoints as c
    cross join lateral unnest(c.channels, c.versions) as known (channel, version)
    where c.thread_id = $1 and c.namespace = $2
)
