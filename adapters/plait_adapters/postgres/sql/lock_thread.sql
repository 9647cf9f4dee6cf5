-- The first statement of a transaction that changes a thread in more than one: $1 tenant,
-- $2 thread, $3 milliseconds after which the server ends the transaction if its client is gone,
-- so that the row does not stay locked.
select
    t.epoch,
    t.holder,
    t.expires > clock_timestamp() as is_held,
    extract(epoch from t.expires)::float8 as expires,
    set_config('idle_in_transaction_session_timeout', $3, true)
from {schema}.threads as t
where t.tenant = $1 and t.thread_id = $2
for update
