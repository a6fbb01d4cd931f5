//! What `check-config` asks of the database beside what every request asks.

use super::{Db, DbError, Prepared};
use serde::Deserialize;

/// Facts about the session, for whoever may log in: the extension may be missing.
const SESSION: &str = "
select json_build_object(
    'login', current_user,
    'server', current_setting('server_version'),
    'superuser', (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user),
    'extension', (select e.extversion from pg_catalog.pg_extension e where e.extname = 'pg_lpm'),
    'gateway', exists (select from pg_catalog.pg_roles r where r.rolname = 'lpm_gateway' and pg_catalog.pg_has_role(r.oid, 'usage')),
    'roles', array(select r.rolname from pg_catalog.pg_roles r
                    where r.rolname in ('lpm_owner', 'lpm_definer', 'lpm_admin', 'lpm_operator', 'lpm_auditor', 'lpm_dashboard')
                      and pg_catalog.pg_has_role(r.oid, 'member') order by 1),
    'forbidden', (select count(*) from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'lpm_api'
                     and not (pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(p.oid, 'execute'))),
    'tables', (select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                where n.nspname in ('lpm', 'lpm_dashboard') and c.relkind in ('r', 'v')
                  and pg_catalog.has_table_privilege(c.oid, 'select, insert, update, delete')),
    'loggedParameters', (select s.setting from pg_catalog.pg_settings s where s.name = 'log_parameter_max_length'),
    'statementTimeout', (select s.setting::bigint from pg_catalog.pg_settings s where s.name = 'statement_timeout')
)::text";

/// The channel of [`super::listen`]; to ring for nothing has every gateway read its issuers once more.
const NOTIFY: &str = "select pg_catalog.pg_notify('lpm_issuers', '')::text";

/// Who the gateway is in the database.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub login: String,
    pub server: String,
    pub superuser: bool,
    /// The version of `pg_lpm`.
    pub extension: Option<String>,
    /// Has it the rights of `lpm_gateway`?
    pub gateway: bool,
    /// Our other roles that it is a member of.
    pub roles: Vec<String>,
    /// Functions of `lpm_api` that it may not call.
    pub forbidden: i64,
    /// Tables and views that it may open.
    pub tables: i64,
    /// How much of parameters the server logs, in bytes.
    pub logged_parameters: String,
    /// In milliseconds; 0 is never.
    pub statement_timeout: i64,
}

impl Db {
    /// Who the gateway is in the database.
    pub(crate) async fn session(&self) -> Result<Session, DbError> {
        let text = self.text(SESSION).await?;
        serde_json::from_str(&text).map_err(|_| DbError::NoAnswer)
    }

    /// Rings for whoever listens.
    pub(crate) async fn notify(&self) -> Result<(), DbError> {
        self.text(NOTIFY).await.map(drop)
    }

    async fn text(&self, sql: &'static str) -> Result<String, DbError> {
        let lease = self.leases.take(None).await?;
        let work = async |client: &deadpool_postgres::Object| {
            let rows = Prepared::new(client, sql, self.naming).await?.query(client, &[]).await?;
            let row = rows.first().ok_or(DbError::NoAnswer)?;
            Ok(crate::reply::Answer::new(200, row.try_get::<_, &str>(0)?))
        };
        Ok(lease.answer(work).await?.body().to_owned())
    }
}
