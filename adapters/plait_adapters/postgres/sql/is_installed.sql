-- Whether a schema is there, and the table of migrations in it: $1 schema, quoted.
select to_regnamespace($1) is not null as schema,
    to_regclass($1 || '.migrations') is not null as migrations
