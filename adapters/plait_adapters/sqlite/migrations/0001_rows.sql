-- The rows of a durable store. Times are seconds since the epoch. An application may keep its own
-- tables in the same file, so every name begins with plait_.

-- The last epoch that was given, of all tenants: one row. Epochs are never given twice.
create table plait_epochs (
    id integer primary key check (id = 1),
    last integer not null
);
insert into plait_epochs (id, last) values (1, 0);

create table plait_threads (
    thread integer primary key,
    tenant text not null,
    thread_id text not null,
    position integer not null default 0,
    pruned integer not null default 0,
    size integer not null default 0,
    status text not null default '',        -- as the last release left it
    graph text not null default '',
    epoch integer,              -- null: nobody has leased it since it was last given back
    holder text,
    expires real,
    created real not null,
    updated real not null,
    origin_id text,             -- of a fork: the thread in which it begins
    origin_position integer,
    unique (tenant, thread_id)
);
create index plait_threads_by_update on plait_threads (tenant, updated desc, thread_id);
create index plait_threads_by_origin on plait_threads (tenant, origin_id, origin_position)
    where origin_id is not null;

-- Rows lie in the order in which they came, so a commit of events of many threads writes few
-- pages, and these are full. In the order of threads each would have its own page, half empty.
create table plait_events (
    event integer primary key,
    thread integer not null,
    position integer not null,
    epoch integer not null,
    data blob not null,
    unique (thread, position)
);

create table plait_snapshots (
    snapshot integer primary key,
    thread integer not null,
    position integer not null,
    data blob not null,
    unique (thread, position)
);

create table plait_plans (
    plan integer primary key,
    tenant text not null,
    fingerprint text not null,
    data blob not null,
    unique (tenant, fingerprint)
);
