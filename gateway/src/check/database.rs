//! The database: is it there, is it ours, may the login do what it has to and nothing else?

use super::Report;
use crate::config::Settings;
use crate::config::database::Tls;
use crate::db::{Db, DbError, Listener, Session};
use crate::reply::Answer;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a notification may take.
const NOTIFIED: Duration = Duration::from_secs(5);

/// `true` when the issuers can be read from it.
pub(super) async fn check(report: &mut Report, db: &Db, settings: &Settings) -> bool {
    let setting = settings.database.setting;
    let session = match db.session().await {
        Ok(session) => session,
        Err(error) => {
            report.wrong("database", format!("{setting}: {error}; {}", fix(&error)));
            return false;
        }
    };
    let path = match settings.database.tls {
        Tls::Off => "without TLS",
        Tls::Unverified => "with TLS, but to whoever answers",
        Tls::VerifyCa => "with TLS, the server's certificate checked, its name not",
        Tls::VerifyFull => "with TLS, the server's certificate and name checked",
    };
    report.ok("database", format!("PostgreSQL {} as `{}`, {path}", session.server, session.login));
    if !extension(report, &session) {
        return false;
    }
    rights(report, &session);
    limits(report, &session, settings);
    let ready = match db.ready().await {
        Ok(answer) if answer.is_success() && member(&answer, "escrowKey") == true => {
            report.ok("database", "writable, and an escrow key is loaded");
            true
        }
        Ok(answer) if answer.is_success() => {
            report.wrong(
                "database",
                "writable, but no escrow key is loaded, so CI pulls answer 503: set pg_lpm.escrow_key_file in postgresql.conf, \
                 then select pg_reload_conf(); select * from lpm.health says more",
            );
            true
        }
        Ok(answer) => {
            let hint = "name every server in --database-url and add target_session_attrs=read-write, or mend the server";
            report.wrong("database", format!("it is not ready: {}; {hint}", member(&answer, "error")));
            true
        }
        Err(error) => {
            report.wrong("database", format!("{setting}: {error}; select * from lpm.health says more"));
            false
        }
    };
    listen(report, db, settings).await;
    ready
}

fn member(answer: &Answer, name: &str) -> Value {
    let body: Value = serde_json::from_str(answer.body()).unwrap_or_default();
    body[name].clone()
}

/// What to do about a server that lets nobody in.
fn fix(error: &DbError) -> &'static str {
    match error.refused_with().as_deref() {
        Some("28P01") => {
            "the password is wrong: correct --database-password-file (LPM_GATEWAY_DATABASE_PASSWORD_FILE), or make a login with \
             select lpm.create_gateway_login(…)"
        }
        Some("28000") => "pg_hba.conf of the server does not let this login in from here",
        Some("3D000") => "correct the name of the database",
        Some("53300") => "the server has no connection left: raise max_connections or lower --pool-size",
        Some("57P03") => "the server is starting or stopping",
        _ => "check host and port, that the server runs, and the certificates that sslmode asks for",
    }
}

fn extension(report: &mut Report, session: &Session) -> bool {
    let own = env!("CARGO_PKG_VERSION");
    match session.extension.as_deref() {
        Some(version) if version == own => report.ok("database", format!("pg_lpm {version}, as this gateway")),
        Some(version) => report.wrong(
            "database",
            format!("pg_lpm {version}, and this gateway is {own}: alter extension pg_lpm update, or run the gateway of that version"),
        ),
        None => {
            report.wrong("database", "pg_lpm is not in this database: create extension pg_lpm cascade");
            return false;
        }
    }
    true
}

/// No less than `lpm_gateway`, and no more.
fn rights(report: &mut Report, session: &Session) {
    let login = &session.login;
    let another = "give the gateway a login of its own: select lpm.create_gateway_login(…)";
    if session.superuser {
        report.wrong("database", format!("`{login}` is a superuser; {another}"));
    } else if !session.gateway || session.forbidden > 0 {
        report.wrong(
            "database",
            format!("`{login}` may not call all of lpm_api: grant lpm_gateway to {login}, or {another}"),
        );
    } else if !session.roles.is_empty() {
        report.wrong(
            "database",
            format!("`{login}` is also a member of {}; {another}", session.roles.join(", ")),
        );
    } else if session.tables > 0 {
        report
            .wrong("database", format!("`{login}` may open {} tables of pg_lpm; {another}", session.tables));
    } else {
        report.ok("database", format!("`{login}` may call lpm_api and open no table"));
    }
    if session.logged_parameters != "0" {
        report.wrong(
            "database",
            format!(
                "the server may log parameters of `{login}`: alter role {login} set log_parameter_max_length = 0"
            ),
        );
    }
}

/// A pooler that drops start-up options drops this one.
fn limits(report: &mut Report, session: &Session, settings: &Settings) {
    let wanted = settings.statement_timeout.as_millis();
    if u128::try_from(session.statement_timeout).is_ok_and(|given| given == wanted) {
        return;
    }
    report.wrong(
        "database",
        format!(
            "the server ends statements after {} ms (0: never), not after {wanted} as --statement-timeout says: something in between \
             drops start-up options; alter role {} set statement_timeout = {wanted}",
            session.statement_timeout, session.login
        ),
    );
}

/// A notification that is sent one way has to arrive the other.
async fn listen(report: &mut Report, db: &Db, settings: &Settings) {
    let Some(database) = &settings.listen_database else { return };
    let setting = database.setting;
    let listener = match Listener::new(database) {
        Ok(listener) => listener,
        Err(error) => return report.wrong("listen", format!("{error:#}")),
    };
    let (bell, mut heard) = watch::channel(false);
    let listens = tokio::spawn(async move { listener.hear(&bell).await });
    let still_listens = listens.abort_handle();
    let reason = match timeout(NOTIFIED, heard.changed()).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => match listens.await {
            Ok(Err(error)) => Some(error.to_string()),
            _ => Some("the server closes the connection".to_owned()),
        },
        Err(_) => Some("no answer in time".to_owned()),
    };
    if let Some(reason) = reason {
        return report
            .wrong("listen", format!("{setting}: {reason}; check host, port, login and certificates"));
    }
    heard.mark_unchanged();
    let told = db.notify().await;
    let arrived = told.is_ok() && matches!(timeout(NOTIFIED, heard.changed()).await, Ok(Ok(())));
    still_listens.abort();
    if arrived {
        report.ok("listen", "changes of the issuers are heard of");
    } else {
        report.wrong(
            "listen",
            format!("{setting}: a notification did not arrive; it has to be the same database, without a pooler in between"),
        );
    }
}
