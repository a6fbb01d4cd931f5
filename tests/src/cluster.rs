//! Private PostgreSQL clusters: made in a fresh directory, reachable by socket only, gone with their starter.
//!
//! `initdb` and the server refuse to run as root, so then they run as `postgres`. Superuser `postgres`
//! may connect without a password (the socket lies in a directory that only the server's user and root
//! may enter); everybody else needs one, so that a test of a login is a test of its password too.

mod disk;
mod failure;
mod options;
mod tls;

pub use disk::Disk;
pub use options::Options;

use crate::database::Database;
use crate::process::{Guardian, Lifetime, run, stdout_of};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that runs the server when the harness itself is root.
const SERVER_USER: &str = "postgres";

/// A socket's path has at most 107 bytes, of which PostgreSQL's file name takes 20.
const LONGEST_SOCKET_DIRECTORY: usize = 80;

/// Fast and quiet; `synchronous_commit` stays on, because the product's guarantees speak of it.
const SETTINGS: [(&str, &str); 8] = [
    ("listen_addresses", ""),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "200"),
    ("shared_buffers", "64MB"),
    ("max_wal_size", "4GB"),
    ("jit", "off"),
    ("timezone", "UTC"),
];

/// A running PostgreSQL server of our own.
pub struct Cluster {
    home: PathBuf,
    bin: PathBuf,
    launcher: Vec<String>,
    _guardian: Option<Guardian>,
}

impl Cluster {
    fn create(options: Options) -> Result<Self> {
        let bin = bin_directory()?;
        let home = new_home()?;
        let guardian = match options.lifetime {
            Lifetime::Detached => None,
            Lifetime::Bound => Some(guardian(&bin, &home)?),
        };
        let cluster = Self { home, bin, launcher: options.launcher.clone(), _guardian: guardian };
        cluster.initdb(options.disk)?;
        cluster.configure(&options)?;
        cluster.start()?;
        Ok(cluster)
    }

    /// A cluster that is running already, by its home directory.
    pub fn attach(home: &Path) -> Result<Self> {
        ensure!(home.join("data/PG_VERSION").exists(), "there is no cluster in {}", home.display());
        Ok(Self { home: home.to_owned(), bin: bin_directory()?, launcher: Vec::new(), _guardian: None })
    }

    fn initdb(&self, disk: Option<Disk>) -> Result<()> {
        let mut initdb = self.server_command("initdb");
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]);
        if let Some(disk) = disk {
            initdb.args(disk.mount(self)?);
        }
        run(initdb.arg("--pgdata").arg(self.data_dir()))?;
        let hba = "local all postgres trust\nlocal replication postgres trust\nlocal all all scram-sha-256\n\
                   host all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(self.data_dir().join("pg_hba.conf"), hba)?;
        Ok(())
    }

    fn configure(&self, options: &Options) -> Result<()> {
        if let Some(text) = &options.escrow_keys {
            self.write_escrow_keys(text)?;
            self.set("pg_lpm.escrow_key_file", &self.escrow_key_file().to_string_lossy())?;
        }
        self.set("unix_socket_directories", &self.socket_dir().to_string_lossy())?;
        for (name, value) in SETTINGS {
            self.set(name, value)?;
        }
        self.set("shared_preload_libraries", &options.preload.join(","))?;
        for (name, value) in &options.settings {
            self.set(name, value)?;
        }
        Ok(())
    }

    /// The directory that holds everything of this cluster.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The directory of the socket, which is what clients call the host.
    #[must_use]
    pub fn socket_dir(&self) -> PathBuf {
        self.home.join("socket")
    }

    /// The directory of PostgreSQL's programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin
    }

    /// The escrow key file, outside the data directory.
    #[must_use]
    pub fn escrow_key_file(&self) -> PathBuf {
        self.home.join("keys/escrow.key")
    }

    /// A directory for logs: the server's, and whatever else belongs to this cluster.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.home.join("log")
    }

    /// The file with the server's log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.log_dir().join("postgresql.log")
    }

    /// The server's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Writes a setting to `postgresql.conf`; it counts from the next start or reload on.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.data_dir().join("postgresql.conf"))?;
        writeln!(file, "{name} = '{}'", value.replace('\'', "''"))?;
        Ok(())
    }

    /// Replaces the escrow key file; the server reads it at its start, on a reload, or when told to.
    pub fn write_escrow_keys(&self, text: &str) -> Result<()> {
        let path = self.escrow_key_file();
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        give_to_server(&fresh)?;
        // at once, so that a server that reads in between finds the old keys or the new ones
        fs::rename(&fresh, &path)?;
        Ok(())
    }

    /// Starts the server and waits until it answers.
    pub fn start(&self) -> Result<()> {
        let mut start = self.pg_ctl_command(&["start", "--wait", "--timeout=60"]);
        if let [program, arguments @ ..] = self.launcher.as_slice() {
            let mut launched = Command::new(program);
            launched.args(arguments).arg(start.get_program()).args(start.get_args()).current_dir("/");
            start = launched;
        }
        run(&mut start)
            .map(drop)
            .with_context(|| format!("the server does not start; its log says:\n{}", self.log()))
    }

    /// Stops the server: `smart`, `fast` or `immediate`.
    pub fn stop(&self, mode: &str) -> Result<()> {
        self.pg_ctl(&["stop", "--wait", "--mode", mode])
    }

    /// Stops the server in order and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.stop("fast")?;
        self.start()
    }

    /// Makes the server read its configuration again.
    pub fn reload(&self) -> Result<()> {
        self.pg_ctl(&["reload"])
    }

    /// Whether the server runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.pg_ctl(&["status"]).is_ok()
    }

    /// Stops the server and removes every file, also for a cluster that was only attached.
    pub fn destroy(self) -> Result<()> {
        // it may have been stopped or killed by somebody else already
        let _ = self.stop("immediate");
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot remove {}", self.home.display()))
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.pg_ctl_command(arguments)).map(drop)
    }

    fn pg_ctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.server_command("pg_ctl");
        command.arg("--pgdata").arg(self.data_dir()).arg("--log").arg(self.log_path()).args(arguments);
        command
    }

    /// One of PostgreSQL's programs, run as the server's user.
    #[must_use]
    pub fn server_command(&self, program: &str) -> Command {
        as_server_user(&self.bin.join(program))
    }

    /// A database that exists.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        Database::new(self, name)
    }

    /// A new database, empty or a copy of `template`.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<Database> {
        let mut statement = format!(r#"create database "{name}""#);
        if let Some(template) = template {
            write!(statement, r#" template "{template}""#)?;
        }
        self.database("postgres").connect().await?.batch_execute(&statement).await?;
        Ok(self.database(name))
    }

    /// A new database with a name of its own.
    pub async fn fresh_database(&self, template: Option<&str>) -> Result<Database> {
        self.create_database(&format!("test_{}", uuid::Uuid::new_v4().simple()), template).await
    }
}

/// 64 random hex digits, as an escrow key is written.
#[must_use]
pub fn random_key() -> String {
    let mut key = [0; 32];
    openssl::rand::rand_bytes(&mut key).expect("OpenSSL always has random bytes");
    hex::encode(key)
}

/// `pg_config` as the environment names it.
#[must_use]
pub fn pg_config() -> PathBuf {
    std::env::var_os("PG_CONFIG")
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "pg_config".into())
        .into()
}

fn bin_directory() -> Result<PathBuf> {
    let pg_config = pg_config();
    let directory = stdout_of(Command::new(&pg_config).arg("--bindir"))
        .with_context(|| format!("no PostgreSQL: `{}` does not work; set PG_CONFIG", pg_config.display()))?;
    Ok(PathBuf::from(directory))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn as_server_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut runuser = Command::new("runuser");
        runuser.args(["-u", SERVER_USER, "--"]).arg(program);
        runuser
    } else {
        Command::new(program)
    };
    // the caller's directory may be closed to the server's user
    command.current_dir("/");
    command
}

/// User and group of the server, where they are not ours.
pub(crate) fn server_user() -> Result<Option<(u32, u32)>> {
    if !is_root() {
        return Ok(None);
    }
    let id = |option: &str| -> Result<u32> {
        Ok(stdout_of(Command::new("id").args([option, SERVER_USER]))?.parse()?)
    };
    Ok(Some((id("-u")?, id("-g")?)))
}

pub(crate) fn give_to_server(path: &Path) -> Result<()> {
    if let Some((user, group)) = server_user()? {
        chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to {SERVER_USER}", path.display()))?;
    }
    Ok(())
}

/// A directory whose path is short enough for a socket, open to the server's user only.
fn new_home() -> Result<PathBuf> {
    let temporary = std::env::temp_dir();
    let parent =
        if temporary.as_os_str().len() < LONGEST_SOCKET_DIRECTORY - 30 { temporary } else { "/tmp".into() };
    let home = tempfile::Builder::new().prefix("lpm-pg-").tempdir_in(parent)?.keep();
    fs::set_permissions(&home, Permissions::from_mode(0o700))?;
    for directory in [home.join("socket"), home.join("keys"), home.join("log"), home.clone()] {
        fs::create_dir_all(&directory)?;
        give_to_server(&directory)?;
    }
    Ok(home)
}

/// Stops the server at the end and takes everything away: the command sees the data directory first.
fn guardian(bin: &Path, home: &Path) -> Result<Guardian> {
    let command = as_server_user(&bin.join("pg_ctl"));
    let mut arguments = vec![home.join("data").into_os_string(), command.get_program().to_owned()];
    arguments.extend(command.get_args().map(ToOwned::to_owned));
    arguments.extend(["stop", "--mode=immediate", "--pgdata"].map(Into::into));
    // a disk of its own is mounted on one of the two; on the other `umount` complains to nobody
    let script = r#"stop=$1; shift; "$@" "$stop"; home=$(dirname "$stop"); umount -l "$home/data"; umount -l "$home/wal"; rm -rf "$home""#;
    Guardian::new(script, arguments)
}
