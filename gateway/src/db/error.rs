//! What can go wrong between gateway and database, and what the caller is told of it.
//!
//! The functions of `lpm_api` answer with values. An error is therefore about the server's state or about
//! a defect, never about a caller, and its text goes to the log only.

use deadpool_postgres::PoolError;
use lpm_core::failure::{Code, Failure};
use tokio_postgres::error::SqlState;
use tracing::{error, warn};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// As many wait for a connection as may, or nobody gets one back.
    #[error("every connection to the database is taken")]
    Busy,
    /// No connection could be made.
    #[error("no connection to the database: {}", pool_causes(.0))]
    Pool(#[from] PoolError),
    /// The statement failed, or the connection under it.
    #[error("the statement failed: {}", describe(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// The statement did not end in time, or its answer was not the one row that it should be.
    #[error("the statement gave no answer")]
    NoAnswer,
    /// A value that goes as none of the types that statements without a name are sent with.
    #[error("a parameter has a type that cannot be sent")]
    Parameter,
}

impl DbError {
    /// Must the connection not be used again?
    ///
    /// It may be only when the server has rolled back by itself and said so. Everything else is unknown: a
    /// broken socket, a session on its way out, or a statement that was prepared against functions that an
    /// upgrade has since replaced.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            DbError::Busy | DbError::Pool(_) | DbError::Parameter => false,
            DbError::NoAnswer => true,
            DbError::Statement(error) => !error.code().is_some_and(|code| {
                [
                    SqlState::QUERY_CANCELED,
                    SqlState::LOCK_NOT_AVAILABLE,
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                ]
                .contains(code)
            }),
        }
    }

    /// Was the statement prepared for what the server no longer has? The first after an upgrade of the extension, or
    /// one that another server behind a pooler knows. Its transaction was rolled back.
    pub(crate) fn is_stale(&self) -> bool {
        let DbError::Statement(error) = self else { return false };
        [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME]
            .iter()
            .any(|stale| error.code() == Some(stale))
    }

    /// Did the connection end without a word from the server?
    pub(crate) fn lost_connection(&self) -> bool {
        let DbError::Statement(error) = self else { return false };
        error.is_closed()
            || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
    }

    /// The SQLSTATE with which the server let nobody in.
    pub(crate) fn refused_with(&self) -> Option<String> {
        let DbError::Pool(PoolError::Backend(error)) = self else { return None };
        error.code().map(|code| code.code().to_owned())
    }

    /// What the caller is told: to come back, unless coming back cannot help.
    pub(crate) fn failure(&self) -> Failure {
        let code = match self {
            DbError::Busy => Code::Busy,
            DbError::Pool(_) | DbError::NoAnswer => Code::Unavailable,
            DbError::Parameter => Code::Internal,
            DbError::Statement(error) => match error.code() {
                None => Code::Unavailable,
                Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Code::ReadOnly,
                Some(code) if passes(code) => Code::Unavailable,
                Some(_) => Code::Internal,
            },
        };
        code.into()
    }

    /// Says it in the log, once, where the request ends.
    pub(crate) fn report(&self) {
        match self.failure().code {
            Code::Internal => error!(error = %self, "A statement failed; the database's log has its text"),
            // the line of each request has the code: under overload one is enough
            Code::Busy => {}
            _ => warn!(error = %self, "The database did not answer"),
        }
    }
}

/// Will it pass by itself? Classes of SQLSTATE, and single codes where a class is too wide.
fn passes(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    // connection, transaction rollback, resources, operator intervention, system error
    ["08", "40", "53", "57", "58"].contains(&class)
        || [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            // transaction_timeout, since PostgreSQL 17
            SqlState::from_code("25P04"),
            // Twice in a row: an upgrade of the extension is under way, or a pooler has other servers.
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::DUPLICATE_PSTATEMENT,
        ]
        .contains(code)
}

fn pool_causes(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => causes(error),
        other => other.to_string(),
    }
}

/// The error of a connection and what caused it; a server that refuses one quotes nothing but names.
pub(super) fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// SQLSTATE, or the kind of failure: messages of the server may quote what a statement was given.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.code() {
        Some(code)
            if [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(code) =>
        {
            format!(
                "SQLSTATE {}, the server knows other names of statements than this connection: behind PgBouncer before 1.21 set \
                 --database-unnamed-statements (LPM_GATEWAY_DATABASE_UNNAMED_STATEMENTS=true)",
                code.code()
            )
        }
        Some(code) => format!("SQLSTATE {}", code.code()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_pass_are_told_from_defects() {
        for code in [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::QUERY_CANCELED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::DISK_FULL,
            SqlState::from_code("25P04"),
            SqlState::FEATURE_NOT_SUPPORTED,
        ] {
            assert!(passes(&code), "{}", code.code());
        }
        for code in [
            SqlState::UNDEFINED_FUNCTION,
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::UNIQUE_VIOLATION,
            SqlState::INVALID_TEXT_REPRESENTATION,
            SqlState::INTERNAL_ERROR,
        ] {
            assert!(!passes(&code), "{}", code.code());
        }
    }

    #[test]
    fn a_hung_statement_spoils_its_connection_and_asks_to_come_back() {
        assert!(DbError::NoAnswer.spoils_connection());
        assert_eq!(DbError::NoAnswer.failure().code, Code::Unavailable);
    }
}
