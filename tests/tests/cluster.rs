//! The private clusters of the harness, without the extension.

use anyhow::Result;
use lpm_tests::cluster::{Cluster, Options};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

fn plain() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Options::default().without_extension().start().expect("a plain cluster starts"))
}

#[tokio::test]
async fn a_fresh_database_is_a_copy_of_its_template() -> Result<()> {
    let template = plain().create_database("one_template", None).await?;
    template.connect().await?.batch_execute("create table t (x int); insert into t values (7)").await?;
    let (one, two) = (
        plain().fresh_database(Some("one_template")).await?,
        plain().fresh_database(Some("one_template")).await?,
    );
    one.connect().await?.batch_execute("delete from t").await?;
    assert_eq!(one.value("select count(*) from t")?, "0");
    assert_eq!(two.value("select x from t")?, "7");
    Ok(())
}

#[tokio::test]
async fn the_server_has_no_port() -> Result<()> {
    assert_eq!(plain().database("postgres").value("show listen_addresses")?, "");
    Ok(())
}

#[tokio::test]
async fn a_login_needs_its_password() -> Result<()> {
    let database = plain().database("postgres");
    let mut login = database.login(&["pg_monitor"]).await?;
    let client = database.connect_as(&login).await?;
    let row = client.query_one("select current_user::text, pg_has_role('pg_monitor', 'member')", &[]).await?;
    assert_eq!((row.get::<_, String>(0), row.get::<_, bool>(1)), (login.user.clone(), true));
    login.password.push('x');
    let refused = database.connect_as(&login).await.expect_err("a wrong password is refused");
    assert!(format!("{refused:#}").contains("password authentication failed"), "{refused:#}");
    Ok(())
}

#[tokio::test]
async fn psql_stops_at_the_first_error() -> Result<()> {
    let output = plain().database("postgres").psql("select 1/0; select 'reached'")?;
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("reached"));
    Ok(())
}

#[tokio::test]
async fn a_restart_keeps_data_and_takes_new_settings() -> Result<()> {
    let cluster = Options::default().without_extension().setting("work_mem", "5MB").start()?;
    let database = cluster.database("postgres");
    assert_eq!(database.value("show work_mem")?, "5MB");
    database.connect().await?.batch_execute("create table kept ()").await?;
    cluster.set("work_mem", "6MB")?;
    cluster.restart()?;
    assert_eq!(database.value("show work_mem; select count(*) from kept")?, "6MB\n0");
    cluster.stop("immediate")?;
    cluster.start()?;
    assert!(cluster.log().contains("database system was interrupted"), "{}", cluster.log());
    Ok(())
}

#[test]
fn the_key_file_belongs_to_the_server_and_nobody_else_reads_it() -> Result<()> {
    let cluster = Options::default().without_extension().start()?;
    cluster.write_escrow_keys("k1:00\n")?;
    let (file, data) =
        (std::fs::metadata(cluster.escrow_key_file())?, std::fs::metadata(cluster.data_dir())?);
    assert_eq!((file.uid(), file.mode() & 0o777), (data.uid(), 0o600));
    assert!(!cluster.escrow_key_file().starts_with(cluster.data_dir()));
    Ok(())
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let failed = Options::default().without_extension().setting("no_such_setting", "1").start();
    let text = format!("{:#}", failed.err().expect("an unknown setting is fatal"));
    assert!(text.contains("no_such_setting"), "{text}");
}

#[test]
fn a_dropped_cluster_leaves_nothing() -> Result<()> {
    let cluster = Options::default().without_extension().start()?;
    let home = cluster.home().to_owned();
    assert!(is_running(&home));
    drop(cluster);
    assert!(!is_running(&home));
    assert!(!home.exists());
    Ok(())
}

/// The other half runs in a process of its own, which ends by SIGKILL while it has a cluster.
#[test]
fn a_killed_process_leaves_nothing() -> Result<()> {
    if std::env::var_os("LPM_TEST_KILL_ME").is_some() {
        let cluster = Options::default().without_extension().start()?;
        println!("home={}", cluster.home().display());
        Command::new("kill").args(["-9", &std::process::id().to_string()]).status()?;
        unreachable!("nobody survives SIGKILL");
    }
    // its standard error stays open until its guardian is done
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_killed_process_leaves_nothing", "--nocapture"])
        .env("LPM_TEST_KILL_ME", "1")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let home = text.lines().find_map(|line| line.split_once("home=")).map(|(_, home)| Path::new(home));
    let home = home.expect("the child says what it made");
    assert!(!is_running(home));
    assert!(!home.exists());
    Ok(())
}

/// Whether a server of the cluster in `home` still works.
fn is_running(home: &Path) -> bool {
    let data = format!("{}/data", home.display());
    let command_lines =
        std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path().join("cmdline"));
    command_lines.filter_map(|path| std::fs::read_to_string(path).ok()).any(|line| line.contains(&data))
}
