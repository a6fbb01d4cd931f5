-- One call per table and per sequence: what is not registered here is lost by dump and restore.
do $dump$
declare
    relation regclass;
begin
    for relation in
        select c.oid::regclass from pg_catalog.pg_class c
         where c.relnamespace = 'lpm'::regnamespace and c.relkind in ('r', 'S') order by c.oid
    loop
        perform pg_catalog.pg_extension_config_dump(relation, '');
    end loop;
end
$dump$;
