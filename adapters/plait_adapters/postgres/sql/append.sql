-- Store records: $1 tenant, $2 threads in order, $3 their epochs; for each record: $4 the number
-- of its thread, $5 its position, $6 where its data begins in $8, and $7 its length. Returns the
-- numbers of the threads whose epoch is the current one; of others nothing is stored.
--
-- The lock keeps the epoch as it is until the records are committed; it is not in the way of
-- other appends.
with leased as (
    select lease.number, t.thread_id, t.epoch, t.pruned
    from unnest($2::text[], $3::text::bigint[])
        with ordinality as lease (thread_id, epoch, number)
    join {schema}.threads as t
        on t.tenant = $1 and t.thread_id = lease.thread_id and t.epoch = lease.epoch
    order by lease.number
    for share of t
), stored as (
    insert into {schema}.events as e (position, epoch, tenant, thread_id, data)
    select record.position, leased.epoch, $1, leased.thread_id,
        substring($8::bytea from record.start for record.length)
    from unnest(
        $4::text::bigint[], $5::text::bigint[], $6::text::integer[], $7::text::integer[]
    ) as record (number, position, start, length)
    join leased on leased.number = record.number
    where record.position > leased.pruned
    on conflict (tenant, thread_id, position) do update set epoch = excluded.epoch
    -- A record that is there with the same epoch is left alone. One of an earlier lease is to
    -- fail the whole statement, and this division does that.
    where case when e.epoch = excluded.epoch then false
        else 1 / (excluded.epoch - excluded.epoch) > 0 end
)
select number from leased
