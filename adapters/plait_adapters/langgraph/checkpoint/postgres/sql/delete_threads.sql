-- Remove all that belongs to threads: $1 their ids.
with checkpoints as (
    delete from {schema}.checkpoints where thread_id = any($1::text[])
), found as (
    delete from {schema}.channel_values where thread_id = any($1::text[])
)
delete from {schema}.writes where thread_id = any($1::text[])
