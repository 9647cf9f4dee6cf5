-- Store a checkpoint: $1 thread, $2 namespace, $3 id, $4 parent, $5 run, $6 channels,
-- $7 versions, $8 delta channels, $9 metadata (JSON), $10 encoding, $11 data; for each value that
-- is new: $12 channel, $13 version, $14 encoding, $15 where its data begins in $17, $16 its length.
with stored as (
    insert into {schema}.channel_values (thread_id, namespace, channel, version, encoding, data)
    select
        $1, $2, v.channel, v.version, v.encoding, substring($17::bytea from v.start for v.length)
    from unnest(
        $12::text[], $13::text[], $14::text[], $15::text::integer[], $16::text::integer[]
    ) as v (channel, version, encoding, start, length)
    on conflict do nothing
)
insert into {schema}.checkpoints (
    thread_id, namespace, checkpoint_id, parent_id, run_id, channels, versions, delta, metadata,
    encoding, data
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11)
on conflict (thread_id, namespace, checkpoint_id) do update set
    parent_id = excluded.parent_id, run_id = excluded.run_id, channels = excluded.channels,
    versions = excluded.versions, delta = excluded.delta, metadata = excluded.metadata,
    encoding = excluded.encoding, data = excluded.data
