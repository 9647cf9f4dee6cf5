-- Every statement that is carried out on a store, by name.

-- name: has_migrations
select count(*) from sqlite_master where type = 'table' and name = 'plait_items_migrations'

-- name: make_migrations
create table if not exists plait_items_migrations (
    version integer primary key, applied real not null
)

-- name: version
select coalesce(max(version), 0) from plait_items_migrations

-- name: migrated
insert into plait_items_migrations (version, applied) values (:version, :now)

-- name: get
select item, namespace, key, value, created_at, updated_at
from plait_items
where
    namespace = :namespace and key = :key
    and not (:omit and coalesce(expires_at <= :now, false))

-- name: within
-- Items whose namespaces begin alike: the namespace itself, and those between two texts.
select item, namespace, key, value, created_at, updated_at
from plait_items
where
    (namespace = :namespace or (namespace >= :from and namespace < :to))
    and not (:omit and coalesce(expires_at <= :now, false))
order by updated_at desc, namespace, key

-- name: vectors
select item, vector
from plait_item_vectors
where item in (
    select item from plait_items
    where namespace = :namespace or (namespace >= :from and namespace < :to)
)

-- name: namespaces
select distinct namespace
from plait_items
where not (:omit and coalesce(expires_at <= :now, false))

-- name: refresh
update plait_items set expires_at = :now + cast(ttl * 60000000 as integer)
where item = :item and ttl is not null

-- name: put
insert into plait_items (namespace, key, value, created_at, updated_at, ttl, expires_at)
values (
    :namespace, :key, :value, :now, :now, :ttl, :now + cast(:ttl * 60000000 as integer)
)
on conflict (namespace, key) do update set
    value = excluded.value, updated_at = excluded.updated_at, ttl = excluded.ttl,
    expires_at = excluded.expires_at

-- name: forget_vectors
delete from plait_item_vectors
where item = (select item from plait_items where namespace = :namespace and key = :key)

-- name: put_vector
insert into plait_item_vectors (item, path, vector)
select item, :path, :vector from plait_items where namespace = :namespace and key = :key

-- name: delete
delete from plait_items where namespace = :namespace and key = :key

-- name: sweep_vectors
delete from plait_item_vectors
where item in (select item from plait_items where expires_at <= :now)

-- name: sweep
delete from plait_items where expires_at <= :now
