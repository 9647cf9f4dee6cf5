-- Checkpoints of a thread, the latest first: $1 thread, $2 namespace or null, $3 id or null,
-- $4 before this id, or null, $5 metadata that they must have (JSON), behind $6 id and
-- $7 namespace, $8 at most.
select thread_id, namespace, checkpoint_id, kind, parent_id, channel, task_id, encoding, data
from (
    select thread_id, namespace, checkpoint_id
    from {schema}.checkpoints
    where
        thread_id = $1 and checkpoint_id <= $6
        and ($2::text is null or namespace = $2)
        and ($3::text is null or checkpoint_id = $3)
        and ($4::text is null or checkpoint_id < $4)
        and not exists (
            select from jsonb_each($5::text::jsonb) as wanted
            where coalesce(metadata -> wanted.key, 'null') <> wanted.value
        )
        and (checkpoint_id < $6 or namespace > $7)
    order by checkpoint_id desc, namespace
    limit $8
) as picked
join {schema}.parts using (thread_id, namespace, checkpoint_id)
order by checkpoint_id desc, namespace, kind, task_path, task_id, place
