-- Every statement that is carried out on rows, by name; what makes the tables is in migrations/.
-- Those of an append are given their values by place, which takes half the time.

-- name: has_migrations
select count(*) from sqlite_master where type = 'table' and name = 'plait_migrations'

-- name: make_migrations
create table if not exists plait_migrations (version integer primary key, applied real not null)

-- name: version
select coalesce(max(version), 0) from plait_migrations

-- name: migrated
insert into plait_migrations (version, applied) values (:version, :now)

-- name: thread
select
    thread, thread_id, position, pruned, size, status, graph, epoch, holder, expires, created,
    updated, origin_id, origin_position
from plait_threads
where tenant = :tenant and thread_id = :thread_id

-- name: threads
select
    thread, thread_id, position, pruned, size, status, graph, epoch, holder, expires, created,
    updated, origin_id, origin_position
from plait_threads
where tenant = :tenant
order by updated desc, thread_id
limit :limit

-- name: threads_before
select
    thread, thread_id, position, pruned, size, status, graph, epoch, holder, expires, created,
    updated, origin_id, origin_position
from plait_threads
where
    tenant = :tenant and updated <= :updated
    and (updated < :updated or thread_id > :thread_id)
order by updated desc, thread_id
limit :limit

-- name: make_thread
insert into plait_threads (tenant, thread_id, created, updated)
values (:tenant, :thread_id, :now, :now)

-- name: next_epoch
update plait_epochs set last = last + 1

-- name: last_epoch
select last from plait_epochs

-- name: lease
update plait_threads
set
    epoch = :epoch, holder = :holder, expires = :expires, graph = :graph, updated = :now,
    -- Of a run whose lease was lost, nobody has said how it ended.
    status = case when epoch is not null and holder <> :holder then 'running' else status end
where thread = :thread

-- name: renew
update plait_threads
set expires = :expires
where tenant = :tenant and thread_id = :thread_id and epoch = :epoch

-- name: release
update plait_threads
set epoch = null, holder = null, expires = null, status = :status, updated = :now
where thread = :thread

-- name: thread_to_append_to
select thread, position, pruned, epoch from plait_threads where tenant = ? and thread_id = ?

-- name: find_event
select epoch from plait_events where thread = ? and position = ?

-- name: append
insert into plait_events (thread, position, epoch, data)
values (?, ?, ?, ?)

-- name: appended
update plait_threads
set position = max(position, ?), size = size + ?
where thread = ?

-- name: read
select e.position, e.data
from plait_threads t join plait_events e on e.thread = t.thread
where
    t.tenant = :tenant and t.thread_id = :thread_id
    and e.position > :after and e.position <= :upto
order by e.position
limit :limit

-- name: save_snapshot
insert into plait_snapshots (thread, position, data) values (:thread, :position, :data)
on conflict (thread, position) do update set data = excluded.data

-- name: load_snapshot
select s.position, s.data
from plait_threads t join plait_snapshots s on s.thread = t.thread
where t.tenant = :tenant and t.thread_id = :thread_id and s.position <= :upto
order by s.position desc
limit 1

-- name: has_snapshot
select count(*) from plait_snapshots where thread = :thread and position = :position

-- name: first_fork
select thread_id, origin_position
from plait_threads
where tenant = :tenant and origin_id = :thread_id and origin_position < :position
limit 1

-- name: size_upto
select coalesce(sum(length(data)), 0)
from plait_events
where thread = :thread and position <= :position

-- name: delete_events
delete from plait_events where thread = :thread and position <= :position

-- name: delete_snapshots
delete from plait_snapshots where thread = :thread and position < :position

-- name: pruned
update plait_threads
set pruned = max(pruned, :position), size = size - :size
where thread = :thread

-- name: make_fork
insert into plait_threads (
    tenant, thread_id, position, created, updated, origin_id, origin_position
)
values (:tenant, :thread_id, :position, :now, :now, :origin_id, :position)

-- name: delete_thread
delete from plait_threads where thread = :thread

-- name: save_plan
insert into plait_plans (tenant, fingerprint, data) values (:tenant, :fingerprint, :data)
on conflict (tenant, fingerprint) do nothing

-- name: load_plan
select data from plait_plans where tenant = :tenant and fingerprint = :fingerprint
