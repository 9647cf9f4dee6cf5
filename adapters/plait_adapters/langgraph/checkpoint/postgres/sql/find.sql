-- A checkpoint: $1 thread, $2 namespace, $3 id.
select thread_id, namespace, checkpoint_id, kind, parent_id, channel, task_id, encoding, data
from {schema}.parts
where thread_id = $1 and namespace = $2 and checkpoint_id = $3
order by kind, task_path, task_id, place
