-- The namespaces of threads: $1 their ids.
select distinct thread_id, namespace
from {schema}.checkpoints
where thread_id = any($1::text[])
order by thread_id, namespace
