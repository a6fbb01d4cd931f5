//! How a statement is sent: prepared once per connection and under a name, or anew each time and without one.
//!
//! `PgBouncer` in transaction mode gives each transaction another connection to the server, and before 1.21 it does not
//! know which of them a name was prepared on. A statement without a name is parsed, bound and executed in one message
//! train that ends with its Sync, so it needs nothing that an earlier one left behind.

use super::{DbError, Params};
use bytes::BytesMut;
use deadpool_postgres::Object;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    Named,
    Unnamed,
}

/// A statement that needs no more questions before it can be sent.
pub(super) enum Prepared {
    Named(Statement),
    Unnamed(&'static str),
}

impl Prepared {
    pub(super) async fn new(client: &Object, sql: &'static str, naming: Naming) -> Result<Self, DbError> {
        Ok(match naming {
            Naming::Named => Self::Named(client.prepare_cached(sql).await?),
            Naming::Unnamed => Self::Unnamed(sql),
        })
    }

    /// Sends it, with a Sync of its own, before it first waits (tokio-postgres 0.7.18, `src/query.rs`: `query` and
    /// `query_typed` both `send` first), and reads its answer to `ReadyForQuery`.
    pub(super) async fn query(&self, client: &Object, params: Params<'_>) -> Result<Vec<Row>, DbError> {
        Ok(match self {
            Self::Named(statement) => client.query(statement, params).await?,
            Self::Unnamed(sql) => client.query_typed(sql, &typed(params)?).await?,
        })
    }
}

/// The types that parameters are sent as when nobody has asked the server for them.
const TYPES: [Type; 9] = [
    Type::UUID,
    Type::BYTEA,
    Type::INT4,
    Type::INT8,
    Type::BOOL,
    Type::UUID_ARRAY,
    Type::TEXT_ARRAY,
    Type::BYTEA_ARRAY,
    // the last, because it may be long
    Type::TEXT,
];

/// Parameters with their types: each Rust type that is used here goes as exactly one of [`TYPES`].
fn typed<'a>(params: Params<'a>) -> Result<Vec<(&'a (dyn ToSql + Sync), Type)>, DbError> {
    params
        .iter()
        .map(|param| {
            let goes_as = |type_: &&Type| param.to_sql_checked(type_, &mut BytesMut::new()).is_ok();
            TYPES.iter().find(goes_as).map(|type_| (*param, type_.clone())).ok_or(DbError::Parameter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn every_parameter_goes_as_the_type_of_its_function() {
        let (id, hash, name) = (Uuid::nil(), [0_u8; 32], "acme".to_owned());
        let params: Params<'_> = &[
            &id,
            &Some(id),
            &None::<Uuid>,
            &hash.as_slice(),
            &None::<&[u8]>,
            &name,
            &name.as_str(),
            &Some(&name),
            &None::<&str>,
            &1_i32,
            &Some(1_i64),
            &None::<i32>,
            &true,
            &vec![id],
            &vec!["a"],
            &Vec::<&str>::new(),
        ];
        let types: Vec<String> = match typed(params) {
            Ok(typed) => typed.iter().map(|(_, type_)| type_.name().to_owned()).collect(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(
            types.join(" "),
            "uuid uuid uuid bytea bytea text text text text int4 int8 int4 bool _uuid _text _text"
        );
    }

    #[test]
    fn a_parameter_of_another_type_is_not_sent_as_something_else() {
        assert!(typed(&[&1.5_f64]).is_err());
    }
}
