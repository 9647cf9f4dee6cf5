-- Checkpoints of all threads, the latest first: $1 before this id, or null, $2 metadata that they
-- must have (JSON), behind $3 id, $4 thread and $5 namespace, $6 at most.
select thread_id, namespace, checkpoint_id, kind, parent_id, channel, task_id, encoding, data
from (
    select thread_id, namespace, checkpoint_id
    from {schema}.checkpoints
    where
        checkpoint_id <= $3
        and ($1::text is null or checkpoint_id < $1)
        and not exists (
            select from jsonb_each($2::text::jsonb) as wanted
            where coalesce(metadata -> wanted.key, 'null') <> wanted.value
        )
        and (checkpoint_id < $3 or (thread_id, namespace) > ($4, $5))
    order by checkpoint_id desc, thread_id, namespace
    limit $6
) as picked
join {schema}.parts using (thread_id, namespace, checkpoint_id)
order by checkpoint_id desc, thread_id, namespace, kind, task_path, task_id, place
