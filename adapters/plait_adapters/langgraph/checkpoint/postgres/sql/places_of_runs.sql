-- Where runs have made checkpoints: $1 their ids.
select distinct thread_id, namespace
from {schema}.checkpoints
where run_id = any($1::text[])
order by thread_id, namespace
