-- Let one process migrate at a time: $1 a number for the schema. Ends with the transaction.
select pg_advisory_xact_lock($1)
