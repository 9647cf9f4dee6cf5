-- Checkpoints of graphs, the values of their channels, and what tasks have written.
-- Ids are compared byte by byte: so they sort by time, and writes in the order of their paths.

create table {schema}.migrations (
    version integer primary key,
    name text not null,
    applied timestamptz not null default clock_timestamp()
);

create table {schema}.checkpoints (
    thread_id text collate "C" not null,
    -- Of a subgraph; empty for the graph itself.
    namespace text collate "C" not null,
    checkpoint_id text collate "C" not null,
    parent_id text collate "C",
    -- The run that made it.
    run_id text collate "C",
    -- Its channels, and the version of each.
    channels text[] not null,
    versions text[] not null,
    -- Its delta channels.
    delta text[] not null,
    -- To be filtered by: what of the metadata is JSON.
    metadata jsonb not null,
    encoding text not null,
    -- The checkpoint without the values of its channels, and its metadata.
    data bytea not null,
    primary key (thread_id, namespace, checkpoint_id)
);
create index checkpoints_by_time on {schema}.checkpoints (thread_id, checkpoint_id desc, namespace);
create index checkpoints_of_all on {schema}.checkpoints (checkpoint_id desc, thread_id, namespace);
create index checkpoints_by_run on {schema}.checkpoints (run_id) where run_id is not null;

-- What a step has not changed is not written again.
create table {schema}.channel_values (
    thread_id text collate "C" not null,
    namespace text collate "C" not null,
    channel text collate "C" not null,
    version text collate "C" not null,
    encoding text not null,
    data bytea not null,
    primary key (thread_id, namespace, channel, version)
);

create table {schema}.writes (
    -- Negative: there is one at most of its kind, which a later one replaces.
    place integer not null,
    thread_id text collate "C" not null,
    namespace text collate "C" not null,
    checkpoint_id text collate "C" not null,
    task_id text collate "C" not null,
    task_path text collate "C" not null,
    channel text collate "C" not null,
    encoding text not null,
    data bytea not null,
    primary key (thread_id, namespace, checkpoint_id, task_id, place)
);

-- All that belongs to checkpoints: kind 0 the checkpoint, 1 the values of its channels, 2 writes.
create view {schema}.parts as
    select
        c.thread_id, c.namespace, c.checkpoint_id, 0 as kind, c.parent_id,
        null::text as channel, '' collate "C" as task_path, '' collate "C" as task_id, 0 as place,
        c.encoding, c.data
    from {schema}.checkpoints as c
    union all
    select
        c.thread_id, c.namespace, c.checkpoint_id, 1, null, v.channel, '', '', 0, v.encoding, v.data
    from {schema}.checkpoints as c
    cross join lateral unnest(c.channels, c.versions) as known (channel, version)
    join {schema}.channel_values as v
        on v.thread_id = c.thread_id and v.namespace = c.namespace
        and v.channel = known.channel and v.version = known.version
    union all
    select
        w.thread_id, w.namespace, w.checkpoint_id, 2, null, w.channel, w.task_path, w.task_id,
        w.place, w.encoding, w.data
    from {schema}.writes as w;
