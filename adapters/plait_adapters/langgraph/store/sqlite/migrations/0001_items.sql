-- Items under keys in namespaces, and the vectors of their texts. An application may keep its own
-- tables in the same file, so every name begins with plait_.

create table plait_items (
    item integer primary key,
    namespace text not null,        -- a JSON array
    key text not null,
    value text not null,            -- a JSON object
    created_at integer not null,    -- microseconds since 1970, as those below
    updated_at integer not null,
    ttl real,                       -- minutes to live since it was last put, or read so that it counts
    expires_at integer,
    unique (namespace, key)
);
create index plait_items_by_expiry on plait_items (expires_at) where expires_at is not null;

create table plait_item_vectors (
    item integer not null,
    path text not null,             -- where in the value the text is
    vector blob not null,           -- doubles, the lowest byte first
    primary key (item, path)
) without rowid;
