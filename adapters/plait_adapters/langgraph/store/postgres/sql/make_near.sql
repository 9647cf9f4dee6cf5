-- An index by which vectors of one length are found near another.
create index if not exists {index} on {schema}.vectors
using {kind} ((vector::{type}) {home}.{operators}){parameters}
where cardinality(vector) = {dims}
