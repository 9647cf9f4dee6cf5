-- What delta channels are made of: $1 thread, $2 namespace, $3 checkpoint or null for the latest,
-- $4 channels. Goes from parent to parent as long as there is a channel whose whole value has not
-- been found; "wanted" are those that were still missing at a checkpoint, "missing" those after it.
with recursive way as (
    select
        0 as depth, c.checkpoint_id, c.parent_id, '{}'::text[] as wanted, $4::text[] as missing,
        c.channels, c.versions
    from {schema}.checkpoints as c
    where c.thread_id = $1 and c.namespace = $2 and c.checkpoint_id = coalesce($3, (
        select max(checkpoint_id) from {schema}.checkpoints where thread_id = $1 and namespace = $2
    ))
    union all
    select
        way.depth + 1, c.checkpoint_id, c.parent_id, way.missing,
        array(
            select name
            from unnest(way.missing) as name
            where not exists (
                select from {schema}.channel_values as v
                where
                    v.thread_id = $1 and v.namespace = $2 and v.channel = name
                    and v.version = c.versions[array_position(c.channels, name)]
            )
        ),
        c.channels, c.versions
    from way
    join {schema}.checkpoints as c
        on c.thread_id = $1 and c.namespace = $2 and c.checkpoint_id = way.parent_id
    where cardinality(way.missing) > 0
)
select depth, kind, channel, task_id, encoding, data
from (
    select
        way.depth, 1 as kind, v.channel, '' collate "C" as task_path, '' collate "C" as task_id,
        0 as place, v.encoding, v.data
    from way
    cross join lateral unnest(way.wanted) as wanted (channel)
    join {schema}.channel_values as v
        on v.thread_id = $1 and v.namespace = $2 and v.channel = wanted.channel
        and v.version = way.versions[array_position(way.channels, wanted.channel)]
    union all
    select
        way.depth, 2, w.channel, w.task_path, w.task_id, w.place, w.encoding, w.data
    from way
    join {schema}.writes as w
        on w.thread_id = $1 and w.namespace = $2 and w.checkpoint_id = way.checkpoint_id
        and w.channel = any(way.wanted)
) as found
order by depth, kind, task_path, task_id, place
