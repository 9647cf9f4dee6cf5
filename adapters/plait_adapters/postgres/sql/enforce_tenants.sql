-- Row-level security: a role sees the rows of one tenant, that which its setting "plait.tenant"
-- names, and none if it has no such setting, or an empty one:
--
--     alter role acme set plait.tenant = 'acme';
--
-- The backend works the same with and without it; what it adds is that a mistake elsewhere, or
-- somebody else's statements on this role, cannot cross tenants either. A role that may set the
-- setting for itself (any that may run any statement) can choose another tenant: where that is to
-- be ruled out too, replace the expression, for example by "tenant = current_user".
-- May be run again. Superusers and roles with "bypassrls" are not restrained.
do $$
declare
    name text;
begin
    foreach name in array array['threads', 'events', 'snapshots', 'plans'] loop
        execute format('alter table {schema}.%I enable row level security', name);
        execute format('alter table {schema}.%I force row level security', name);
        execute format('drop policy if exists tenant on {schema}.%I', name);
        execute format(
            'create policy tenant on {schema}.%I '
                'using (tenant = nullif(current_setting(%L, true), %L))',
            name, 'plait.tenant', ''
        );
    end loop;
end
$$
