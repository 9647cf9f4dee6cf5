-- Where the extension pgvector is, which one, and whether an index is there: $1 its name.
select
    namespace.nspname::text as home,
    extension.extversion as version,
    exists (
        select
        from pg_index as made
        where
            made.indexrelid = to_regclass(format('%s.%I', '{schema}', $1::text))
            and made.indisvalid
    ) as is_made
from pg_extension as extension
join pg_namespace as namespace on namespace.oid = extension.extnamespace
where extension.extname = 'vector'
