-- Checkpoints of graphs. An application may keep its own tables in the same file, so every name
-- begins with plait_.

create table plait_checkpoints (
    checkpoint integer primary key,
    thread_id text not null,
    namespace text not null,        -- of a subgraph; empty for the graph itself
    checkpoint_id text not null,    -- sorts by time
    parent_id text,
    run_id text,
    versions text not null,         -- of its channels: a JSON object
    delta text not null,            -- its delta channels: a JSON array
    encoding text not null,
    data blob not null,             -- the checkpoint without the values of channels, its metadata
    unique (thread_id, namespace, checkpoint_id)
);
create index plait_checkpoints_by_time
    on plait_checkpoints (thread_id, checkpoint_id desc, namespace);
create index plait_checkpoints_of_all
    on plait_checkpoints (checkpoint_id desc, thread_id, namespace);
create index plait_checkpoints_by_run on plait_checkpoints (run_id) where run_id is not null;

-- The values of channels, by version: what a step has not changed is not written again.
create table plait_channel_values (
    value integer primary key,
    thread_id text not null,
    namespace text not null,
    channel text not null,
    version text not null,
    encoding text not null,
    data blob not null,
    unique (thread_id, namespace, channel, version)
);

-- What tasks have written for the checkpoint they started from.
create table plait_writes (
    write integer primary key,
    thread_id text not null,
    namespace text not null,
    checkpoint_id text not null,
    task_id text not null,
    place integer not null,     -- negative: there is one at most, which a later one replaces
    task_path text not null,
    channel text not null,
    encoding text not null,
    data blob not null,
    unique (thread_id, namespace, checkpoint_id, task_id, place)
);
