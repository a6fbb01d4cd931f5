//! `lpm-gateway check-config`: what is fine, what is wrong, and what to do about it.

use anyhow::Result;
use lpm_tests::authority::{Authority, Identity};
use lpm_tests::binaries;
use lpm_tests::cluster;
use lpm_tests::database::{Database, Login};
use lpm_tests::issuer::{Endpoint, Fault, Issuer};
use lpm_tests::pooler::Pooler;
use lpm_tests::stack::{Seed, Stack};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// What a check said.
struct Checked {
    code: Option<i32>,
    text: String,
}

impl Checked {
    fn lines(&self, verdict: &str) -> Vec<&str> {
        self.text.lines().filter(|line| line.starts_with(verdict)).collect()
    }

    /// Nothing is wrong.
    fn all_fine(self) -> Self {
        assert_eq!((self.code, self.lines("WRONG").len()), (Some(0), 0), "{}", self.text);
        self
    }

    fn says(self, verdict: &str, part: &str) -> Self {
        assert!(
            self.lines(verdict).iter().any(|line| line.contains(part)),
            "no {verdict} `{part}`:\n{}",
            self.text
        );
        self
    }

    /// Exactly this is wrong.
    fn found(self, parts: &[&str]) -> Self {
        assert_eq!((self.code, self.lines("WRONG").len()), (Some(1), parts.len()), "{}", self.text);
        parts.iter().fold(self, |checked, part| checked.says("WRONG", part))
    }
}

/// Checks a gateway with these arguments and variables.
fn check(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Checked> {
    let output = Command::new(binaries::path("lpm-gateway")?)
        .env_clear()
        .env("LPM_GATEWAY_DATABASE_URL", url)
        .envs(variables.iter().copied())
        .arg("check-config")
        .args(arguments)
        .output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    assert!(!text.contains("panicked"), "{text}");
    Ok(Checked { code: output.status.code(), text })
}

/// A database whose issuers can be reached: the built-in ones cannot from a test.
async fn stack() -> Result<Stack> {
    let stack = Stack::new().await?;
    without_built_in(stack.database())?;
    Ok(stack)
}

fn without_built_in(database: &Database) -> Result<()> {
    for issuer in ["https://token.actions.githubusercontent.com", "https://gitlab.com"] {
        database.value(&format!("select lpm.distrust_issuer('{issuer}')"))?;
    }
    Ok(())
}

fn url(stack: &Stack) -> String {
    stack.database().url_as(&stack.seed.gateway_login)
}

#[tokio::test]
async fn all_is_fine_where_all_is_fine() -> Result<()> {
    let stack = stack().await?;
    let keys = stack.issuer.jwks(lpm_tests::issuer::Provider::GitHub);
    stack
        .database()
        .value(&format!("select lpm.trust_issuer('github', 'https://uploaded.example', jwks => '{keys}')"))?;
    let direct = url(&stack);
    check(&direct, &["--listen-database-url", &direct], &[])?
        .all_fine()
        .says("ok", "settings: they can be read and fit together")
        .says("ok", "as `gateway`, without TLS")
        .says("ok", concat!("pg_lpm ", env!("CARGO_PKG_VERSION"), ", as this gateway"))
        .says("ok", "`gateway` may call lpm_api and open no table")
        .says("ok", "writable, and an escrow key is loaded")
        .says("ok", "listen: changes of the issuers are heard of")
        .says("ok", &format!("{}: 1 keys, fetched just now", stack.issuer.url()))
        .says("ok", "https://uploaded.example: 1 uploaded keys, no network")
        .says("note", "plain HTTP on 127.0.0.1:8473");
    check(&direct, &["--database-unnamed-statements"], &[])?.all_fine();
    Ok(())
}

#[test]
fn settings_that_do_not_fit_are_said_before_anything_is_tried() -> Result<()> {
    let checked = check("", &[], &[])?;
    assert_eq!(checked.code, Some(1));
    assert!(checked.text.starts_with("lpm-gateway: no database: set --database-url"), "{}", checked.text);
    Ok(())
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_named_with_the_way_in() -> Result<()> {
    let stack = stack().await?;
    let login = &stack.seed.gateway_login;
    let stranger = Login { user: login.user.clone(), password: "wrong".to_owned() };
    check(&stack.database().url_as(&stranger), &[], &[])?
        .found(&["the password is wrong: correct --database-password-file"]);
    let nowhere = Database::clone(stack.database()).url_as(login).replace(stack.database().name(), "nowhere");
    check(&nowhere, &[], &[])?.found(&["correct the name of the database"]);
    check("postgresql://gateway@%2Fno%2Fsuch/lpm", &[], &[])?
        .found(&["--database-url (LPM_GATEWAY_DATABASE_URL): no connection to the database"]);
    let empty = stack.cluster.fresh_database(None).await?;
    check(&empty.url_as(login), &[], &[])?.found(&["create extension pg_lpm cascade"]);
    Ok(())
}

#[tokio::test]
async fn a_login_with_more_or_less_than_lpm_gateway_is_refused() -> Result<()> {
    let stack = stack().await?;
    let database = stack.database();
    check(&database.url(), &[], &[])?
        .found(&["`postgres` is a superuser; give the gateway a login", "the server may log parameters"]);
    // what create_gateway_login sets
    let quiet = |login: &Login| {
        database.value(&format!("alter role {} set log_parameter_max_length = 0", login.user))
    };
    for (roles, expected) in [
        (vec![], "may not call all of lpm_api"),
        (vec!["lpm_gateway", "lpm_admin"], "is also a member of lpm_admin"),
        (vec!["lpm_gateway", "lpm_auditor"], "is also a member of lpm_auditor"),
    ] {
        let login = database.login(&roles).await?;
        quiet(&login)?;
        let checked = check(&database.url_as(&login), &[], &[])?.says("WRONG", expected);
        assert_eq!(checked.code, Some(1));
    }
    let login = database.login(&["lpm_gateway"]).await?;
    check(&database.url_as(&login), &[], &[])?.found(&["set log_parameter_max_length = 0"]);
    quiet(&login)?;
    check(&database.url_as(&login), &[], &[])?.all_fine();
    database.value(&format!(
        "grant usage on schema lpm to {0}; grant select on lpm.oidc_issuer to {0}",
        login.user
    ))?;
    check(&database.url_as(&login), &[], &[])?.found(&["may open 1 tables of pg_lpm"]);
    Ok(())
}

#[tokio::test]
async fn a_standby_and_a_server_without_escrow_key_are_not_ready() -> Result<()> {
    let issuer = Issuer::start()?;
    let cluster = cluster::Options::default().without_escrow_key().start()?;
    let seed = Seed::create(&cluster, "keyless", issuer.url()).await?;
    without_built_in(&seed.database)?;
    check(&seed.database.url_as(&seed.gateway_login), &[], &[])?.found(&["no escrow key is loaded"]);
    let standby = cluster.standby("standby")?;
    let there = standby.database("keyless").url_as(&seed.gateway_login);
    check(&there, &[], &[])?
        .says("WRONG", "it is not ready")
        .says("WRONG", "target_session_attrs=read-write");
    Ok(())
}

#[tokio::test]
async fn a_pooler_is_no_place_to_listen_and_drops_limits() -> Result<()> {
    let stack = stack().await?;
    let (login, direct) = (&stack.seed.gateway_login, url(&stack));
    let pooler = Pooler::start(&stack.cluster, login, 2)?;
    let pooled = pooler.url(stack.database(), login);
    let unnamed = "--database-unnamed-statements";
    check(&pooled, &[unnamed, "--listen-database-url", &direct], &[])?
        .found(&["alter role gateway set statement_timeout = 10000"]);
    stack.database().value(&format!(
        "alter role gateway in database {} set statement_timeout = 10000",
        stack.database().name()
    ))?;
    // the setting counts from the next connection on
    let pooler = Pooler::start(&stack.cluster, login, 2)?;
    let pooled = pooler.url(stack.database(), login);
    check(&pooled, &[unnamed, "--listen-database-url", &direct], &[])?.all_fine();
    check(&pooled, &[unnamed, "--listen-database-url", &pooled], &[])?
        .found(&["--listen-database-url (LPM_GATEWAY_LISTEN_DATABASE_URL): a notification did not arrive"]);
    check(&direct, &["--listen-database-url", "postgresql://gateway@%2Fno%2Fsuch/lpm"], &[])?
        .found(&["listen: --listen-database-url (LPM_GATEWAY_LISTEN_DATABASE_URL)"]);
    Ok(())
}

#[tokio::test]
async fn issuers_whose_keys_cannot_be_had_are_named_with_the_reason() -> Result<()> {
    let stack = stack().await?;
    let issuer = Issuer::start()?;
    let trust = |more: &str| {
        let sql = format!("select lpm.trust_issuer('github', '{}'{more})", issuer.url());
        stack.database().value(&sql)
    };
    trust(", allow_private_addresses => true")?;
    for (fault, reason) in [
        (Fault { status: Some(500), ..Fault::default() }, "answered 500"),
        (
            Fault {
                status: Some(302),
                location: Some("https://evil.example".to_owned()),
                ..Fault::default()
            },
            "redirects are not followed",
        ),
        (Fault { body: Some("garbage".to_owned()), ..Fault::default() }, "is not one"),
    ] {
        issuer.fault(Endpoint::Discovery, Some(fault));
        check(&url(&stack), &[], &[])?.found(&[reason]).says("WRONG", "lpm.distrust_issuer(");
    }
    issuer.fault(Endpoint::Discovery, None);
    check(&url(&stack), &[], &[])?.all_fine();
    check(&url(&stack), &[], &[("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:9")])?
        .all_fine()
        .says("note", "the environment names the proxy http://127.0.0.1:9/: it resolves the issuers' names, so only origin and https");
    check(&url(&stack), &[], &[("HTTPS_PROXY", "socks5://127.0.0.1:9")])?
        .found(&["HTTPS_PROXY is not the URL of a proxy"]);
    Ok(())
}

/// A certificate in a directory, and what to start a gateway with it.
struct Certified {
    files: TempDir,
    ca: String,
}

impl Certified {
    fn new(authority: &Authority, identity: &Identity) -> Result<Self> {
        let files = tempfile::tempdir()?;
        identity.write(files.path(), "server")?;
        let ca = authority.write(files.path(), "ca")?.display().to_string();
        Ok(Self { files, ca })
    }

    fn check(&self, url: &str) -> Result<Checked> {
        let path = |name: &str| self.files.path().join(name).display().to_string();
        let (cert, key) = (path("server.pem"), path("server.key"));
        let arguments = ["--tls-cert", &cert, "--tls-key", &key, "--public-url", "https://vault.example.com"];
        check(url, &arguments, &[("SSL_CERT_FILE", &self.ca)])
    }
}

#[tokio::test]
async fn a_certificate_is_looked_at_as_clients_do() -> Result<()> {
    let (stack, authority) = (stack().await?, Authority::new()?);
    let url = url(&stack);
    for names in [&["vault.example.com"][..], &["other.example.com", "*.example.com"]] {
        Certified::new(&authority, &authority.issue(names)?)?
            .check(&url)?
            .all_fine()
            .says("ok", "the key belongs to it")
            .says("ok", "carries `vault.example.com`")
            .says("ok", "the certificate is valid until")
            .says("ok", "authorities vouch for it");
    }
    Certified::new(&authority, &authority.issue(&["gateway.internal", "10.0.0.9"])?)?
        .check(&url)?
        .found(&["is for `gateway.internal`, `10.0.0.9`, not for `vault.example.com`"]);
    Certified::new(&authority, &authority.issue_for(&["vault.example.com"], -9, -2)?)?
        .check(&url)?
        .found(&["the certificate ended on"]);
    Certified::new(&authority, &authority.issue_for(&["vault.example.com"], 2, 9)?)?
        .check(&url)?
        .found(&["is not valid before"]);
    Certified::new(&authority, &authority.issue_for(&["vault.example.com"], -9, 5)?)?
        .check(&url)?
        .all_fine()
        .says("note", "the certificate ends on");
    // a CA of one's own is no mistake
    Certified::new(&Authority::new()?, &authority.issue(&["vault.example.com"])?)?
        .check(&url)?
        .all_fine()
        .says("note", "this machine's authorities do not vouch for it");
    let mixed = Certified::new(&authority, &authority.issue(&["vault.example.com"])?)?;
    authority.issue(&["vault.example.com"])?.write(mixed.files.path(), "other")?;
    fs::copy(mixed.files.path().join("other.key"), mixed.files.path().join("server.key"))?;
    mixed.check(&url)?.found(&["belong to"]);
    Ok(())
}
