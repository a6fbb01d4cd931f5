//! `PgBouncer` in transaction mode between a gateway and its database.

use crate::cluster::{Cluster, give_to_server, server_user};
use crate::database::{Database, Login};
use crate::process::{Daemon, Lifetime};
use anyhow::{Context, Result};
use reqwest::Url;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running `PgBouncer`.
pub struct Pooler {
    home: PathBuf,
    _daemon: Daemon,
}

impl Pooler {
    /// Pools connections of this login to the cluster, as many at most.
    pub fn start(cluster: &Cluster, login: &Login, connections: u32) -> Result<Self> {
        let home = cluster.home().join(format!("p{}", &uuid::Uuid::new_v4().simple().to_string()[..6]));
        fs::create_dir(&home)?;
        let users = home.join("users");
        fs::write(&users, format!("\"{}\" \"{}\"\n", login.user, login.password))?;
        let settings = home.join("pgbouncer.ini");
        fs::write(&settings, settings_text(cluster, &home, &users, connections))?;
        for path in [&home, &users, &settings] {
            give_to_server(path)?;
        }
        // Debian puts it where only administrators look
        let program =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let mut command =
            Command::new(program.context("there is no PgBouncer: install the package pgbouncer")?);
        command.arg(&settings).current_dir("/");
        if let Some((user, group)) = server_user()? {
            command.uid(user).gid(group);
        }
        let daemon =
            Daemon::start(&mut command, &home.join("log"), "process up: PgBouncer", Lifetime::Bound)?;
        Ok(Self { home, _daemon: daemon })
    }

    /// The address of a database behind it.
    #[must_use]
    pub fn url(&self, database: &Database, login: &Login) -> String {
        let host = self.home.to_string_lossy().replace('/', "%2F");
        let mut url = Url::parse(&format!("postgresql://{host}:6432/{}", database.name()))
            .expect("a socket's directory and a name make a URL");
        url.set_username(&login.user).expect("a URL with a host takes a user");
        url.set_password(Some(&login.password)).expect("a URL with a host takes a password");
        url.into()
    }
}

fn settings_text(cluster: &Cluster, home: &Path, users: &Path, connections: u32) -> String {
    format!(
        "[databases]\n\
         * = host={} port=5432\n\
         [pgbouncer]\n\
         listen_port = 6432\n\
         unix_socket_dir = {}\n\
         auth_type = scram-sha-256\n\
         auth_file = {}\n\
         pool_mode = transaction\n\
         default_pool_size = {connections}\n\
         ignore_startup_parameters = options\n",
        cluster.socket_dir().display(),
        home.display(),
        users.display(),
    )
}
