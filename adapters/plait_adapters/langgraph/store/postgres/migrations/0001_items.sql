-- Items under keys in namespaces, and the vectors of their texts. Labels and keys are compared byte
-- by byte.

create table {schema}.migrations (
    version integer primary key,
    name text not null,
    applied timestamptz not null default clock_timestamp()
);

create table {schema}.items (
    namespace text[] collate "C" not null,
    key text collate "C" not null,
    value jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Minutes to live since it was last put, or read by somebody who wants that to count.
    ttl double precision,
    expires_at timestamptz,
    primary key (namespace, key)
);
create index items_by_update on {schema}.items (updated_at desc);
create index items_by_expiry on {schema}.items (expires_at) where expires_at is not null;

create table {schema}.vectors (
    namespace text[] collate "C" not null,
    key text collate "C" not null,
    -- Where in the value the text is.
    path text collate "C" not null,
    vector double precision[] not null,
    primary key (namespace, key, path),
    foreign key (namespace, key) references {schema}.items on delete cascade
);

-- A number, or a text that is one; null for all else.
create function {schema}.as_number(found jsonb) returns double precision
language sql immutable parallel safe as $$
    select case jsonb_typeof(found)
        when 'number' then (found #>> '{}')::double precision
        when 'boolean' then (found = 'true')::integer
        when 'string' then case
            when found #>> '{}' ~ '^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$'
            then (found #>> '{}')::double precision
        end
    end
$$;

-- Less than, equal to or greater than 0, as the one is less than, equal to or greater than the
-- other: two numbers, or two texts. Null where they cannot be compared.
create function {schema}.compared(found jsonb, wanted jsonb) returns integer
language sql immutable parallel safe as $$
    select case
        when {schema}.as_number(found) is not null and {schema}.as_number(wanted) is not null
        then sign({schema}.as_number(found) - {schema}.as_number(wanted))::integer
        when jsonb_typeof(found) = 'string' and jsonb_typeof(wanted) = 'string'
        then case
            when found #>> '{}' < wanted #>> '{}' collate "C" then -1
            else (found #>> '{}' > wanted #>> '{}' collate "C")::integer
        end
    end
$$;

-- Whether a value is as a filter wants it: conditions with a path, an operator and a value.
create function {schema}.agrees(item jsonb, conditions jsonb) returns boolean
language sql immutable parallel safe as $$
    select not exists (
        select
        from jsonb_array_elements(conditions) as condition
        cross join lateral (
            select
                item #> array(select jsonb_array_elements_text(condition -> 'path')) as found,
                condition -> 'value' as wanted
        ) as both_sides
        where not coalesce(case condition ->> 'operator'
            when '$eq' then coalesce(found, 'null') = wanted
            when '$ne' then coalesce(found, 'null') <> wanted
            when '$gt' then {schema}.compared(found, wanted) > 0
            when '$gte' then {schema}.compared(found, wanted) >= 0
            when '$lt' then {schema}.compared(found, wanted) < 0
            when '$lte' then {schema}.compared(found, wanted) <= 0
        end, false)
    )
$$;

-- Whether a namespace begins or ends as conditions want it.
create function {schema}.is_match(namespace text[], conditions jsonb) returns boolean
language sql immutable parallel safe as $$
    select not exists (
        select
        from jsonb_array_elements(conditions) as condition
        cross join lateral (
            select
                jsonb_array_length(condition -> 'path') as size,
                case condition ->> 'type'
                    when 'suffix'
                    then cardinality(namespace) - jsonb_array_length(condition -> 'path')
                    else 0
                end as before
        ) as place
        where cardinality(namespace) < size or exists (
            select
            from jsonb_array_elements_text(condition -> 'path') with ordinality as step (label, n)
            where label <> '*' and label <> namespace[before + n]
        )
    )
$$;
