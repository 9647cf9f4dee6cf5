-- Have the server end this transaction if its client is silent for $1 milliseconds.
select set_config('idle_in_transaction_session_timeout', $1, true)
