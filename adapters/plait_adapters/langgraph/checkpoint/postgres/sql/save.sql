-- Store checkpoints, the values of their channels that are new, and what tasks have written; all or
-- nothing. All data are in $30: of each, where they begin there, and their length.
-- Checkpoints: $1 thread, $2 namespace, $3 id, $4 parent, $5 run, $6 metadata (JSON), $7 encoding,
-- $8 channels, $9 their versions, $10 delta channels (each the text of an array), $11 and $12 data.
-- Values: $13 thread, $14 namespace, $15 channel, $16 version, $17 encoding, $18 and $19 data.
-- Writes: $20 thread, $21 namespace, $22 checkpoint, $23 task, $24 its path, $25 channel,
-- $26 encoding, $27 place, $28 and $29 data.
with stored_values as (
    insert into {schema}.channel_values (thread_id, namespace, channel, version, encoding, data)
    select
        v.thread_id, v.namespace, v.channel, v.version, v.encoding,
        substring($30::bytea from v.start for v.length)
    from unnest(
        $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text::integer[],
        $19::text::integer[]
    ) as v (thread_id, namespace, channel, version, encoding, start, length)
    on conflict do nothing
),
stored_writes as (
    insert into {schema}.writes as known (
        thread_id, namespace, checkpoint_id, task_id, task_path, channel, encoding, place, data
    )
    select
        w.thread_id, w.namespace, w.checkpoint_id, w.task_id, w.task_path, w.channel, w.encoding,
        w.place, substring($30::bytea from w.start for w.length)
    from unnest(
        $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[],
        $27::text::integer[], $28::text::integer[], $29::text::integer[]
    ) as w (
        thread_id, namespace, checkpoint_id, task_id, task_path, channel, encoding, place, start,
        length
    )
    on conflict (thread_id, namespace, checkpoint_id, task_id, place) do update set
        task_path = excluded.task_path, channel = excluded.channel, encoding = excluded.encoding,
        data = excluded.data
    where known.place < 0
)
insert into {schema}.checkpoints (
    thread_id, namespace, checkpoint_id, parent_id, run_id, channels, versions, delta, metadata,
    encoding, data
)
select
    c.thread_id, c.namespace, c.checkpoint_id, c.parent_id, c.run_id,
    c.channels::text[], c.versions::text[], c.delta::text[],
    c.metadata::jsonb, c.encoding, substring($30::bytea from c.start for c.length)
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text::integer[], $12::text::integer[]
) as c (
    thread_id, namespace, checkpoint_id, parent_id, run_id, metadata, encoding, channels, versions,
    delta, start, length
)
on conflict (thread_id, namespace, checkpoint_id) do update set
    parent_id = excluded.parent_id, run_id = excluded.run_id, channels = excluded.channels,
    versions = excluded.versions, delta = excluded.delta, metadata = excluded.metadata,
    encoding = excluded.encoding, data = excluded.data
