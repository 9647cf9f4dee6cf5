-- Let those begin anew that followed one of those removed: $1 thread, $2 namespace, $3 their ids.
update {schema}.checkpoints set parent_id = null
where thread_id = $1 and namespace = $2 and parent_id = any($3::text[])
