-- Keep the description of a graph: $1 tenant, $2 fingerprint, $3 data.
insert into {schema}.plans (tenant, fingerprint, data)
values ($1, $2, $3)
on conflict (tenant, fingerprint) do nothing
