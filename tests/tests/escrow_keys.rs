//! Where escrow keys come from, and what the server's processes show of them.

use anyhow::Result;
use lpm_core::bearer;
use lpm_tests::cluster::{self, Cluster, Options};
use lpm_tests::database::Database;
use lpm_tests::escrowed::{Escrowed, answer, claims, code, granted};
use lpm_tests::process::run;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

async fn installed(cluster: &Cluster) -> Result<Database> {
    let database = cluster.create_database("keys", None).await?;
    database.value("create extension pg_lpm cascade")?;
    Ok(database)
}

fn loaded(database: &Database) -> Result<String> {
    database.value("select coalesce(string_agg(id, ' '), '') from lpm.escrow_keys")
}

/// Starts the stopped server with `VAULT_CI_ESCROW_KEY`.
fn start_with_variable(cluster: &Cluster, value: &str) -> Result<()> {
    let mut start = cluster.server_command("pg_ctl");
    start
        .env("VAULT_CI_ESCROW_KEY", value)
        .arg("--pgdata")
        .arg(cluster.data_dir())
        .arg("--log")
        .arg(cluster.log_path());
    run(start.args(["start", "--wait"]))?;
    Ok(())
}

#[tokio::test]
async fn the_newest_key_comes_first_and_seals_what_is_new() -> Result<()> {
    let (new, old) = (cluster::random_key(), cluster::random_key());
    let cluster =
        Options::default().escrow_keys(format!("# rotated in November\nnew:{new}\nold:{old}\n")).start()?;
    let database = installed(&cluster).await?;
    let keys = database.value("select string_agg(id || ' ' || seals_new, ', ') from lpm.escrow_keys")?;
    assert_eq!(keys, "new true, old false");
    Ok(())
}

#[tokio::test]
async fn a_reload_publishes_new_keys_to_every_backend_before_it_returns() -> Result<()> {
    let cluster = Options::default().start()?;
    let database = installed(&cluster).await?;
    let backends = [database.connect().await?, database.connect().await?];
    for number in 0..10 {
        cluster.write_escrow_keys(&format!("k{number}:{}\n", cluster::random_key()))?;
        assert_eq!(database.value("select lpm.reload_escrow_keys()")?, "1");
        for backend in &backends {
            let id: String = backend.query_one("select id from lpm.escrow_keys", &[]).await?.get(0);
            assert_eq!(id, format!("k{number}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_id_is_looked_for_again_before_it_fails() -> Result<()> {
    let cluster = Options::default().start()?;
    let database = installed(&cluster).await?;
    cluster.write_escrow_keys(&format!("added:{}\n", cluster::random_key()))?;
    // whoever asks within a few seconds of the last reading is told no at once
    let found = async || Ok::<_, anyhow::Error>(database.value("select lpm.has_escrow_key('added')")? == "t");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !found().await? {
        anyhow::ensure!(std::time::Instant::now() < deadline, "the added key was never found");
        tokio::task::yield_now().await;
    }
    assert_eq!(database.value("select lpm.has_escrow_key('never')")?, "f");
    Ok(())
}

#[tokio::test]
async fn the_command_wins_over_the_file_and_its_failures_keep_the_last_good_keys() -> Result<()> {
    let cluster = Options::default().start()?;
    let database = installed(&cluster).await?;
    let point_to = |command: &str| -> Result<std::process::Output> {
        cluster.set("pg_lpm.escrow_key_command", command)?;
        cluster.reload()?;
        database.psql("select lpm.reload_escrow_keys()")
    };
    let started = cluster.data_dir().with_file_name("started").display().to_string();
    let key = cluster::random_key();
    cluster.write_escrow_keys(&format!("kms:{key}\n"))?;
    assert!(point_to(&format!("cat '{}'", cluster.escrow_key_file().display()))?.status.success());
    assert_eq!(loaded(&database)?, "kms");
    for (row, command, expected) in [
        ("it fails", "exit 3", "failed: exit status: 3"),
        ("there is none", "/no/such/program", "failed: exit status: 127"),
        ("it prints nothing", "true", "it holds no key"),
        ("it prints nonsense", "echo hello", "entry 1 is not"),
        ("it prints without end", "yes", "printed more than 64 KiB"),
        ("it does not end", "cat KEYS; exec >&-; sleep 600", "did not finish within 10 seconds"),
    ] {
        let command = &command.replace("KEYS", &cluster.escrow_key_file().display().to_string());
        let output = point_to(command)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(expected), "{row}: {text}");
        assert_eq!(loaded(&database)?, "kms", "{row}");
    }
    assert!(!cluster.log().contains(&key), "the server logs no key");

    // a shutdown does not wait for a command that hangs
    cluster
        .set("pg_lpm.escrow_key_command", "touch STARTED; sleep 600".replace("STARTED", &started).as_str())?;
    cluster.reload()?;
    while !std::path::Path::new(&started).exists() {
        tokio::task::yield_now().await;
    }
    cluster.stop("fast")?;
    Ok(())
}

#[tokio::test]
async fn the_variable_is_taken_wiped_and_not_inherited() -> Result<()> {
    let cluster = Options::default().without_escrow_key().start()?;
    let database = installed(&cluster).await?;
    assert_eq!(loaded(&database)?, "");
    cluster.stop("fast")?;
    let (named, bare) = (cluster::random_key(), cluster::random_key());
    start_with_variable(&cluster, &format!("env:{named},{bare}"))?;
    let ids = loaded(&database)?;
    assert!(ids.starts_with("env ") && ids.len() == "env ".len() + 16, "{ids}");

    let backend = database.connect().await?;
    let pid: i32 = backend.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let postmaster: i32 = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid"))?
        .lines()
        .next()
        .unwrap_or_default()
        .parse()?;
    assert!(
        cluster.server_command("/bin/cat").arg("/proc/self/environ").output()?.status.success(),
        "reading one's own works"
    );
    for pid in [pid, postmaster] {
        // the test is root here, or the server's own user, who may not even open it
        if let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) {
            let text = String::from_utf8_lossy(&environment);
            assert!(
                !text.contains(&named) && !text.contains("VAULT_CI_ESCROW_KEY"),
                "process {pid} shows its environment"
            );
        }
        let mut look = cluster.server_command("/bin/cat");
        let seen = look.arg(format!("/proc/{pid}/environ")).output()?;
        assert!(!seen.status.success(), "the server's user reads the environment of process {pid}");
    }
    let inherited =
        database.value("copy (select 1) to program 'cat >/dev/null; test -z \"$VAULT_CI_ESCROW_KEY\"'");
    assert!(inherited.is_ok(), "a child process inherits the variable: {inherited:?}");
    assert_eq!(database.value("select protected from lpm.escrow_key_source()")?, "t");

    // PostgreSQL writes its environment down at this level, before any library is loaded
    let finding = "select count(*) from lpm.health where what like '%logs VAULT_CI_ESCROW_KEY%'";
    assert_eq!(database.value(finding)?, "0");
    cluster.set("log_min_messages", "debug3")?;
    cluster.reload()?;
    while database.value("show log_min_messages")? != "debug3" {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.value(finding)?, "1");
    Ok(())
}

#[tokio::test]
async fn a_variable_with_an_error_is_reported_and_the_server_starts() -> Result<()> {
    let cluster = Options::default().without_escrow_key().start()?;
    let database = installed(&cluster).await?;
    cluster.stop("fast")?;
    let key = cluster::random_key();
    start_with_variable(&cluster, &format!("a:{key},a:{key}"))?;
    assert_eq!(loaded(&database)?, "");
    let health =
        database.value("select string_agg(what, ' ') from lpm.health where severity = 'critical'")?;
    assert!(
        health.contains("VAULT_CI_ESCROW_KEY: the id `a` occurs twice") && !health.contains(&key),
        "{health}"
    );
    Ok(())
}

#[tokio::test]
async fn without_preloading_everything_but_escrow_works_and_health_says_so() -> Result<()> {
    let cluster = Options::default().preload(&[]).without_escrow_key().start()?;
    let database = installed(&cluster).await?;
    assert!(database.value("select lpm.create_user('alice')").is_ok());
    let health = database.value("select string_agg(what || ' | ' || fix, ' ') from lpm.health")?;
    assert!(
        health.contains("pg_lpm is not preloaded") && health.contains("shared_preload_libraries"),
        "{health}"
    );
    let output = database.psql("select lpm.reload_escrow_keys()")?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("not preloaded"));
    // no memory: nothing is granted, and nothing opened
    assert_eq!(database.value("select lpm.note_grant('1')")?, "f");
    assert_eq!(database.value("select lpm.claim_open('1')")?, "f");
    Ok(())
}

/// Two steps: a CI token has three uses, and a server without the key takes none of them.
#[tokio::test]
async fn a_pull_that_fails_for_want_of_a_key_costs_no_use_of_the_ci_token() -> Result<()> {
    let key = format!("dev:{}\n", cluster::random_key());
    let (cluster, alice) = Escrowed::alone(Options::default().escrow_keys(&key)).await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    let ci_token = bearer::hash(b"lpm_ci_of_this_job").to_vec();
    let (claims, none) = (claims(&alice.issuer, "main"), None::<&str>);
    let exchange: [&(dyn ToSql + Sync); 8] =
        [&Uuid::now_v7(), &none, &alice.issuer, &claims, &vault_id, &"production", &None::<Uuid>, &ci_token];
    assert_eq!(answer(&client, "exchange", &exchange).await?.0, 200);
    let pull = async || {
        let arguments: [&(dyn ToSql + Sync); 5] =
            [&Uuid::now_v7(), &none, &ci_token, &vault_id, &"production"];
        answer(&client, "decide_ci", &arguments).await.map(code)
    };

    cluster.write_escrow_keys(&format!("other:{}\n", cluster::random_key()))?;
    alice.database.value("select lpm.reload_escrow_keys()")?;
    for _ in 0..5 {
        assert_eq!(pull().await?, (503, "no_escrow_key".to_owned()));
    }
    cluster.write_escrow_keys(&key)?;
    alice.database.value("select lpm.reload_escrow_keys()")?;
    for _ in 0..3 {
        assert_eq!(pull().await?, granted());
    }
    assert_eq!(pull().await?, (401, "ci_token_invalid".to_owned()));
    Ok(())
}
