//! One database of a cluster, and the ways into it.

use crate::cluster::Cluster;
use crate::process::stdout_of;
use anyhow::{Context, Result};
use reqwest::Url;
use std::path::PathBuf;
use std::process::{Command, Output};
use tokio_postgres::{Client, NoTls};

/// A database, by name and socket.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    socket_dir: PathBuf,
    psql: PathBuf,
}

/// A role that can log in.
#[derive(Clone, Debug)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Database {
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Self {
        Self { name: name.to_owned(), socket_dir: cluster.socket_dir(), psql: cluster.bin_dir().join("psql") }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of the server's socket.
    #[must_use]
    pub fn socket_dir(&self) -> &std::path::Path {
        &self.socket_dir
    }

    /// The address as superuser, for psql and for Rust alike.
    #[must_use]
    pub fn url(&self) -> String {
        self.address("postgres", None)
    }

    /// The address as `login`.
    #[must_use]
    pub fn url_as(&self, login: &Login) -> String {
        self.address(&login.user, Some(&login.password))
    }

    fn address(&self, user: &str, password: Option<&str>) -> String {
        let host = self.socket_dir.to_string_lossy().replace('/', "%2F");
        let mut url = Url::parse(&format!("postgresql://{host}/{}", self.name))
            .expect("a socket's directory and a name make a URL");
        url.set_username(user).expect("a URL with a host takes a user");
        url.set_password(password).expect("a URL with a host takes a password");
        url.into()
    }

    /// A connection as superuser.
    pub async fn connect(&self) -> Result<Client> {
        self.open(&self.url())
            .await
            .with_context(|| format!("cannot connect to `{}` as superuser", self.name))
    }

    /// A connection as `login`, with its password.
    pub async fn connect_as(&self, login: &Login) -> Result<Client> {
        self.open(&self.url_as(login))
            .await
            .with_context(|| format!("cannot connect to `{}` as `{}`", self.name, login.user))
    }

    async fn open(&self, url: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // it ends with the client; what went wrong reaches the client's caller as an error of its query
        tokio::spawn(connection);
        Ok(client)
    }

    /// A new login that is a member of `roles` and nothing else.
    pub async fn login(&self, roles: &[&str]) -> Result<Login> {
        let user = format!("login_{}", uuid::Uuid::new_v4().simple());
        let password = uuid::Uuid::new_v4().simple().to_string();
        let mut statements = format!("create role {user} login password '{password}';");
        for role in roles {
            statements.push_str(&format!(r#"grant "{role}" to {user};"#));
        }
        self.connect().await?.batch_execute(&statements).await?;
        Ok(Login { user, password })
    }

    /// psql as superuser, stopping at the first error; arguments and input are the caller's.
    #[must_use]
    pub fn psql_command(&self) -> Command {
        let mut command = Command::new(&self.psql);
        command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname"]).arg(self.url());
        command.env("PGAPPNAME", "lpm-tests").env("PAGER", "cat");
        command
    }

    /// What psql says to `sql`, whether it succeeds or not.
    pub fn psql(&self, sql: &str) -> Result<Output> {
        Ok(self.psql_command().args(["--command", sql]).output()?)
    }

    /// The one value that `sql` returns, as psql prints it.
    pub fn value(&self, sql: &str) -> Result<String> {
        stdout_of(self.psql_command().args(["--tuples-only", "--no-align", "--command", sql]))
    }

    /// The rows that `sql` returns, as psql draws them for people.
    pub fn table(&self, sql: &str) -> Result<String> {
        stdout_of(self.psql_command().args(["--pset", "footer=off", "--command", sql]))
    }
}
