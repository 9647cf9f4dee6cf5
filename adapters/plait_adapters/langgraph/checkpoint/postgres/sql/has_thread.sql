-- Whether there are checkpoints of a thread: $1 its id.
select exists (select from {schema}.checkpoints where thread_id = $1) as there
