-- $1 version, $2 name.
insert into {schema}.migrations (version, name) values ($1, $2)
