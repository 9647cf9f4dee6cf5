-- Remove items whose time is over.
with gone as (
    delete from {schema}.items where expires_at <= now() returning 1
)
select count(*) as count from gone
