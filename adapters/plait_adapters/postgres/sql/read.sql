-- A page of events: $1 tenant, $2 thread, $3 after which position, $4 up to which, $5 how many.
select position, data
from {schema}.events
where tenant = $1 and thread_id = $2 and position > $3 and position <= $4
order by position
limit $5
