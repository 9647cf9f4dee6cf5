-- The description of a graph: $1 tenant, $2 fingerprint.
select data from {schema}.plans where tenant = $1 and fingerprint = $2
