-- Every statement that is carried out on checkpoints, by name.

-- name: has_migrations
select count(*) from sqlite_master where type = 'table' and name = 'plait_checkpoint_migrations'

-- name: make_migrations
create table if not exists plait_checkpoint_migrations (
    version integer primary key, applied real not null
)

-- name: version
select coalesce(max(version), 0) from plait_checkpoint_migrations

-- name: migrated
insert into plait_checkpoint_migrations (version, applied) values (:version, :now)

-- name: find
select thread_id, namespace, checkpoint_id, parent_id, versions, encoding, data
from plait_checkpoints
where thread_id = :thread_id and namespace = :namespace and checkpoint_id = :checkpoint_id

-- name: latest
select thread_id, namespace, checkpoint_id, parent_id, versions, encoding, data
from plait_checkpoints
where thread_id = :thread_id and namespace = :namespace
order by checkpoint_id desc
limit 1

-- name: list_of_thread
select thread_id, namespace, checkpoint_id, parent_id, versions, encoding, data
from plait_checkpoints
where
    thread_id = :thread_id and checkpoint_id <= :upto
    and (:before is null or checkpoint_id < :before)
    and (:namespace is null or namespace = :namespace)
    and (:checkpoint_id is null or checkpoint_id = :checkpoint_id)
    and (checkpoint_id < :upto or namespace > :after_namespace)
order by checkpoint_id desc, namespace

-- name: list_of_all
select thread_id, namespace, checkpoint_id, parent_id, versions, encoding, data
from plait_checkpoints
where
    checkpoint_id <= :upto
    and (:before is null or checkpoint_id < :before)
    and (checkpoint_id < :upto or (thread_id, namespace) > (:after_thread_id, :after_namespace))
order by checkpoint_id desc, thread_id, namespace

-- name: values
select v.channel, v.encoding, v.data
from json_each(:versions) as known
join plait_channel_values as v
    on v.thread_id = :thread_id and v.namespace = :namespace
    and v.channel = known.key and v.version = known.value

-- name: stored
select v.channel
from json_each(:versions) as known
join plait_channel_values as v
    on v.thread_id = :thread_id and v.namespace = :namespace
    and v.channel = known.key and v.version = known.value

-- name: writes
select task_id, channel, encoding, data
from plait_writes
where thread_id = :thread_id and namespace = :namespace and checkpoint_id = :checkpoint_id
order by task_path, task_id, place

-- name: save
insert into plait_checkpoints
    (thread_id, namespace, checkpoint_id, parent_id, run_id, versions, delta, encoding, data)
values (
    :thread_id, :namespace, :checkpoint_id, :parent_id, :run_id, :versions, :delta, :encoding, :data
)
on conflict (thread_id, namespace, checkpoint_id) do update set
    parent_id = excluded.parent_id, run_id = excluded.run_id, versions = excluded.versions,
    delta = excluded.delta, encoding = excluded.encoding, data = excluded.data

-- name: save_value
insert into plait_channel_values (thread_id, namespace, channel, version, encoding, data)
values (?, ?, ?, ?, ?, ?)
on conflict do nothing

-- name: save_write
insert into plait_writes
    (thread_id, namespace, checkpoint_id, task_id, task_path, place, channel, encoding, data)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (thread_id, namespace, checkpoint_id, task_id, place) do update set
    task_path = excluded.task_path, channel = excluded.channel, encoding = excluded.encoding,
    data = excluded.data
where place < 0

-- name: delete_checkpoints_of_thread
delete from plait_checkpoints where thread_id = ?

-- name: delete_values_of_thread
delete from plait_channel_values where thread_id = ?

-- name: delete_writes_of_thread
delete from plait_writes where thread_id = ?

-- name: namespaces_of_thread
select distinct namespace from plait_checkpoints where thread_id = ?

-- name: places_of_run
select distinct thread_id, namespace from plait_checkpoints where run_id = ?

-- name: bones
select checkpoint_id, parent_id, run_id, delta, versions
from plait_checkpoints
where thread_id = :thread_id and namespace = :namespace

-- name: delete_checkpoint
delete from plait_checkpoints where thread_id = ? and namespace = ? and checkpoint_id = ?

-- name: delete_writes
delete from plait_writes where thread_id = ? and namespace = ? and checkpoint_id = ?

-- name: forget_parents
update plait_checkpoints set parent_id = null
where
    thread_id = :thread_id and namespace = :namespace and parent_id is not null
    and parent_id not in (
        select checkpoint_id from plait_checkpoints
        where thread_id = :thread_id and namespace = :namespace
    )

-- name: delete_unused_values
delete from plait_channel_values
where thread_id = :thread_id and namespace = :namespace and (channel, version) not in (
    select known.key, known.value
    from plait_checkpoints as c, json_each(c.versions) as known
    where c.thread_id = :thread_id and c.namespace = :namespace
)

-- name: has_thread
select exists (select 1 from plait_checkpoints where thread_id = ?)

-- name: copy_checkpoints
insert into plait_checkpoints
    (thread_id, namespace, checkpoint_id, parent_id, run_id, versions, delta, encoding, data)
select :target, namespace, checkpoint_id, parent_id, run_id, versions, delta, encoding, data
from plait_checkpoints
where thread_id = :source

-- name: copy_values
insert into plait_channel_values (thread_id, namespace, channel, version, encoding, data)
select :target, namespace, channel, version, encoding, data
from plait_channel_values
where thread_id = :source

-- name: copy_writes
insert into plait_writes
    (thread_id, namespace, checkpoint_id, task_id, task_path, place, channel, encoding, data)
select :target, namespace, checkpoint_id, task_id, task_path, place, channel, encoding, data
from plait_writes
where thread_id = :source
