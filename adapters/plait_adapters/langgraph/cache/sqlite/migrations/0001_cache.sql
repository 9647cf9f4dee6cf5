-- Values that nodes gave. An application may keep its own tables in the same file, so every name
-- begins with plait_.
create table plait_cache (
    namespace text not null,    -- a JSON array of its labels
    key text not null,
    expires real,               -- seconds since the epoch; null: never
    encoding text not null,
    data blob not null,
    primary key (namespace, key)
);
create index plait_cache_by_expiry on plait_cache (expires) where expires is not null;
