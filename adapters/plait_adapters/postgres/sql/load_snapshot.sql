-- The last snapshot: $1 tenant, $2 thread, $3 up to which position.
select position, data
from {schema}.snapshots
where tenant = $1 and thread_id = $2 and position <= $3
order by position desc
limit 1
