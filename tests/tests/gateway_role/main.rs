//! A gateway's login against everything that the catalogs know: it may execute `lpm_api`, and beyond that nothing
//! that any other login may not. What is added to the schema is attacked by itself.

mod catalogs;
mod sessions;

use anyhow::Result;
use lpm_tests::database::Login;
use lpm_tests::escrowed::{Escrowed, SECRET};
use lpm_tests::job::Job;
use tokio_postgres::Client;

/// Not allowed.
pub(crate) const RIGHTS: &[&str] = &["42501"];

/// A gateway's login, made as a DBA makes it, and one that was given nothing.
pub(crate) struct Intruder {
    pub(crate) alice: Escrowed,
    pub(crate) login: Login,
    pub(crate) client: Client,
    pub(crate) bare: Login,
    pub(crate) vault_id: String,
}

impl Intruder {
    pub(crate) async fn new() -> Result<Self> {
        let alice = Escrowed::new().await?;
        let user = format!("gateway_{}", uuid::Uuid::new_v4().simple());
        let password = alice.database.value(&format!("select lpm.create_gateway_login('{user}')"))?;
        let login = Login { user, password };
        let client = alice.database.connect_as(&login).await?;
        let bare = alice.database.login(&[]).await?;
        let vault_id = alice.vault(&client).await?;
        Ok(Self { alice, login, client, bare, vault_id })
    }

    /// What a superuser's query returns, a line each; never nothing, or there would be nothing to attack.
    pub(crate) fn lines(&self, sql: &str) -> Result<Vec<String>> {
        let text = self
            .alice
            .database
            .value(&format!("select string_agg(x, E'\\n' order by x) from ({sql}) t (x)"))?;
        anyhow::ensure!(!text.is_empty(), "nothing to attack: {sql}");
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// One statement per template and name; `%s` is the name.
    pub(crate) fn each(&self, names: &str, templates: &[&str]) -> Result<Vec<String>> {
        let names = self.lines(names)?;
        Ok(names.iter().flat_map(|name| templates.iter().map(|sql| sql.replace("%s", name))).collect())
    }

    /// Asserts that every statement is refused with one of these codes, and that all of them changed nothing.
    pub(crate) async fn is_refused(&self, statements: &[String], codes: &[&str]) -> Result<()> {
        let before = self.fingerprint()?;
        let mut surprises = Vec::new();
        for sql in statements {
            let met = self.client.batch_execute(sql).await;
            self.client.batch_execute("rollback; reset session authorization; reset role").await?;
            match met {
                Ok(()) => surprises.push(format!("{sql}: it succeeded")),
                Err(error) if error.code().is_some_and(|code| codes.contains(&code.code())) => {}
                Err(error) => surprises.push(format!("{sql}: {error:?}")),
            }
        }
        assert!(
            surprises.is_empty(),
            "{} of {}:\n{}",
            surprises.len(),
            statements.len(),
            surprises.join("\n")
        );
        assert_eq!(self.fingerprint()?, before, "something was changed");
        self.works().await
    }

    /// Asserts that none of the statements changes anything, whether it fails or is merely warned about.
    pub(crate) async fn changes_nothing(&self, statements: &[String]) -> Result<()> {
        let before = self.fingerprint()?;
        for sql in statements {
            let met = self.client.batch_execute(sql).await;
            assert_eq!(self.fingerprint()?, before, "{sql}: {met:?}");
        }
        self.works().await
    }

    /// Rows, definitions, owners and rights of all that is ours, and of the login itself.
    fn fingerprint(&self) -> Result<String> {
        let ours = "in ('lpm'::regnamespace, 'lpm_api'::regnamespace, 'lpm_dashboard'::regnamespace, 'public'::regnamespace)";
        let roles = format!("(rolname like 'lpm\\_%' or rolname = '{}')", self.login.user);
        let catalogs = [
            format!("select relname, relowner, relacl::text, relrowsecurity, relhastriggers, relhasrules from pg_class where relnamespace {ours} order by oid"),
            format!("select p.oid, proname, proowner, proacl::text, proconfig::text, prosrc, prosecdef from pg_proc p where pronamespace {ours} order by p.oid"),
            format!("select typname, typowner, typacl::text from pg_type where typnamespace {ours} order by oid"),
            "select nspname, nspowner, nspacl::text from pg_namespace where nspname !~ '^pg_' order by oid".to_owned(),
            "select datname, datdba, datacl::text from pg_database where datname = current_database()".to_owned(),
            "select extname, extowner from pg_extension union all select lanname, lanowner from pg_language order by 1".to_owned(),
            format!("select r.* from pg_roles r where {roles} order by r.oid"),
            format!("select m.roleid, m.member from pg_auth_members m join pg_roles r on r.oid = m.member where {roles} order by 1, 2"),
            format!("select s.setconfig::text from pg_db_role_setting s join pg_roles r on r.oid = s.setrole where {roles} order by 1"),
        ];
        let queries = catalogs.map(|sql| format!("($q${sql}$q$)")).join(", ");
        self.alice.database.value(&format!(
            "select md5(string_agg(query_to_xml(q, true, true, '')::text, '' order by q)) from (
                 values {queries} union all select format('table %s', c.oid::regclass) from pg_class c
                  where c.relnamespace = 'lpm'::regnamespace and c.relkind in ('r', 'p')) x (q)"
        ))
    }

    /// What the login is for still works.
    pub(crate) async fn works(&self) -> Result<()> {
        let met = Job::of(&self.alice.issuer).pull(&self.client, &self.vault_id).await?;
        assert_eq!((met.status, met.body["vars"]["API_KEY"].as_str()), (200, Some(SECRET)), "{}", met.body);
        Ok(())
    }
}
