-- Every statement that is carried out on a cache, by name.

-- name: has_migrations
select count(*) from sqlite_master where type = 'table' and name = 'plait_cache_migrations'

-- name: make_migrations
create table if not exists plait_cache_migrations (
    version integer primary key, applied real not null
)

-- name: version
select coalesce(max(version), 0) from plait_cache_migrations

-- name: migrated
insert into plait_cache_migrations (version, applied) values (:version, :now)

-- name: get
select encoding, data
from plait_cache
where namespace = :namespace and key = :key and (expires is null or expires > :now)

-- name: set
insert into plait_cache (namespace, key, expires, encoding, data)
values (?, ?, ?, ?, ?)
on conflict (namespace, key) do update set
    expires = excluded.expires, encoding = excluded.encoding, data = excluded.data

-- name: sweep
delete from plait_cache where expires <= :now

-- name: clear
delete from plait_cache where namespace = ?

-- name: clear_all
delete from plait_cache
