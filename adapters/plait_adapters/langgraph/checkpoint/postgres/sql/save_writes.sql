-- Store what a task has written: $1 thread, $2 namespace, $3 checkpoint, $4 task, $5 its path; for
-- each write: $6 place, $7 channel, $8 encoding, $9 where its data begins in $11, $10 its length.
insert into {schema}.writes as known (
    place, thread_id, namespace, checkpoint_id, task_id, task_path, channel, encoding, data
)
select
    w.place, $1, $2, $3, $4, $5, w.channel, w.encoding,
    substring($11::bytea from w.start for w.length)
from unnest(
    $6::text::integer[], $7::text[], $8::text[], $9::text::integer[], $10::text::integer[]
) as w (place, channel, encoding, start, length)
on conflict (thread_id, namespace, checkpoint_id, task_id, place) do update set
    task_path = excluded.task_path, channel = excluded.channel, encoding = excluded.encoding,
    data = excluded.data
where known.place < 0
