//! PostgreSQL over TLS: a gateway talks to the server whose certificate and name are right, shows its own certificate
//! where one is asked for, and says nothing to anybody else.

use anyhow::{Context, Result};
use lpm_tests::authority::{Authority, Identity};
use lpm_tests::binaries;
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::gateway::{self, Gateway};
use lpm_tests::stack::Seed;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What the server's certificate says.
const NAME: &str = "db.example";

/// A database behind TLS.
struct World {
    cluster: Cluster,
    address: Ipv4Addr,
    seed: Seed,
    authority: Authority,
    ca: PathBuf,
    files: TempDir,
}

impl World {
    /// A server with a certificate for [`NAME`], which lets people in by `methods`.
    async fn new(methods: &[&str]) -> Result<Self> {
        let authority = Authority::new()?;
        let server = authority.issue(&[NAME])?;
        Self::with(authority, &server, methods).await
    }

    async fn with(authority: Authority, server: &Identity, methods: &[&str]) -> Result<Self> {
        let cluster = cluster::Options::default().start()?;
        let seed = Seed::create(&cluster, "tls", "https://issuer.example").await?;
        let address = cluster.listen_with_tls(server, &authority, methods)?;
        let files = tempfile::tempdir()?;
        let ca = authority.write(files.path(), "ca")?;
        Ok(Self { cluster, address, seed, authority, ca, files })
    }

    /// A URL of the database under this name. `rest` goes to its query.
    fn url(&self, name: &str, rest: &str) -> String {
        let login = &self.seed.gateway_login;
        format!(
            "postgresql://{}:{}@{name}/{}?hostaddr={}&{rest}",
            login.user,
            login.password,
            self.seed.database.name(),
            self.address
        )
    }

    /// `sslmode=verify-full` with the authority's certificate.
    fn verified(&self) -> String {
        format!("sslmode=verify-full&sslrootcert={}", self.ca.display())
    }

    fn gateway(&self, url: String) -> Result<Gateway> {
        gateway::Options::new(url).start(&self.files.path().join("gateway.log"))
    }

    /// A gateway of this URL is ready.
    async fn serves(&self, url: String) -> Result<()> {
        let gateway = self.gateway(url)?;
        let reply = gateway.get("/readyz", None).await?;
        assert_eq!(reply.status.as_u16(), 200, "{}\n{}", reply.text(), gateway.log());
        Ok(())
    }

    /// A gateway of this URL starts, does not get through, and says why; the server saw nobody log in.
    async fn refuses(&self, url: String, reason: &str) -> Result<()> {
        let before = self.logins();
        let gateway = self.gateway(url)?;
        let reply = gateway.get("/readyz", None).await?;
        assert_eq!(reply.status.as_u16(), 503, "{reason}: {}", reply.text());
        assert_eq!(self.logins(), before, "{reason}: somebody logged in");
        let log = gateway.log();
        assert!(log.contains(reason), "`{reason}` is not in\n{log}");
        Ok(())
    }

    /// How often the gateway's login was let in.
    fn logins(&self) -> usize {
        self.cluster.log().matches("connection authorized: user=gateway").count()
    }

    /// What a gateway says that does not start.
    fn start_fails(&self, url: &str) -> Result<String> {
        let output = Command::new(binaries::path("lpm-gateway")?)
            .env_clear()
            .env("LPM_GATEWAY_DATABASE_URL", url)
            .env("LPM_GATEWAY_LISTEN", "127.0.0.1:0")
            .output()?;
        assert_eq!(output.status.code(), Some(1));
        Ok(String::from_utf8(output.stderr)?)
    }

    fn identity(&self, authority: &Authority, name: &str) -> Result<(PathBuf, PathBuf)> {
        authority.issue(&[name])?.write(self.files.path(), &uuid::Uuid::new_v4().to_string())
    }
}

fn shown((cert, key): &(PathBuf, PathBuf)) -> String {
    format!("&sslcert={}&sslkey={}", cert.display(), key.display())
}

fn logging(world: &World) -> Result<()> {
    world.cluster.set("log_connections", "on")?;
    world.cluster.reload()
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate_and_its_name() -> Result<()> {
    let world = World::new(&["scram-sha-256"]).await?;
    logging(&world)?;
    world.serves(world.url(NAME, &world.verified())).await?;
    assert!(world.logins() > 0, "the log shows who comes in");
    world.refuses(world.url("other.example", &world.verified()), "certificate verify failed").await?;
    let stranger = Authority::new()?.write(world.files.path(), "stranger")?;
    let strange = format!("sslmode=verify-full&sslrootcert={}", stranger.display());
    world.refuses(world.url(NAME, &strange), "certificate verify failed").await?;
    // the system's authorities do not know it either
    world.refuses(world.url(NAME, "sslmode=verify-full"), "certificate verify failed").await?;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_over_is_refused() -> Result<()> {
    let authority = Authority::new()?;
    let over = authority.issue_for(&[NAME], -9, -2)?;
    let world = World::with(authority, &over, &["scram-sha-256"]).await?;
    logging(&world)?;
    world.refuses(world.url(NAME, &world.verified()), "certificate verify failed").await
}

#[tokio::test]
async fn a_server_without_tls_is_told_nothing() -> Result<()> {
    let world = World::new(&["scram-sha-256"]).await?;
    logging(&world)?;
    world.cluster.set("ssl", "off")?;
    // its own lines for TLS alone would keep it from starting
    let hba = world.cluster.data_dir().join("pg_hba.conf");
    fs::write(&hba, fs::read_to_string(&hba)?.replace("hostssl", "host"))?;
    world.cluster.restart()?;
    world.refuses(world.url(NAME, &world.verified()), "server does not support TLS").await
}

#[tokio::test]
async fn a_client_certificate_opens_what_a_password_does_not() -> Result<()> {
    let world = World::new(&["cert"]).await?;
    logging(&world)?;
    let own = world.identity(&world.authority, "gateway")?;
    let verified = world.verified();
    world.serves(world.url(NAME, &format!("{verified}{}", shown(&own)))).await?;
    world.refuses(world.url(NAME, &verified), "no connection to the database").await?;
    let other = world.identity(&world.authority, "somebody")?;
    world
        .refuses(world.url(NAME, &format!("{verified}{}", shown(&other))), "no connection to the database")
        .await?;
    let forged = world.identity(&Authority::new()?, "gateway")?;
    world
        .refuses(world.url(NAME, &format!("{verified}{}", shown(&forged))), "no connection to the database")
        .await
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_start_up_errors_that_name_them() -> Result<()> {
    let world = World::new(&["cert"]).await?;
    let (cert, key) = world.identity(&world.authority, "gateway")?;
    let (_, another) = world.identity(&world.authority, "gateway")?;
    let (empty, open) = (world.files.path().join("empty.pem"), world.files.path().join("open.key"));
    fs::write(&empty, "")?;
    fs::copy(&key, &open)?;
    fs::set_permissions(&open, Permissions::from_mode(0o644))?;
    let missing = Path::new("/no/such.pem");
    for (ca, cert, key, expected) in [
        (missing, cert.as_path(), key.as_path(), "sslrootcert `/no/such.pem` cannot be read"),
        (empty.as_path(), &cert, &key, "sslrootcert"),
        (&world.ca, missing, &key, "sslcert `/no/such.pem` cannot be used"),
        (&world.ca, &empty, &key, "sslcert"),
        (&world.ca, &cert, missing, "sslkey `/no/such.pem` cannot be used"),
        (&world.ca, &cert, &another, "belong to sslcert"),
        (&world.ca, &cert, &open, "may be opened by others (mode 0644); chmod 600 it"),
    ] {
        let rest = format!(
            "sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            ca.display(),
            cert.display(),
            key.display()
        );
        let said = world.start_fails(&world.url(NAME, &rest)).context(expected)?;
        assert!(said.starts_with("lpm-gateway: --database-url (LPM_GATEWAY_DATABASE_URL): "), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
    Ok(())
}
