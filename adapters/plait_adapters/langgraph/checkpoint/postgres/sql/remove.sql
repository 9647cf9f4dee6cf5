-- Remove checkpoints and what was written for them: $1 thread, $2 namespace, $3 their ids.
with gone as (
    delete from {schema}.checkpoints
    where thread_id = $1 and namespace = $2 and checkpoint_id = any($3::text[])
)
delete from {schema}.writes
where thread_id = $1 and namespace = $2 and checkpoint_id = any($3::text[])
