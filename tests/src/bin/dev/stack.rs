//! `lpm-dev up` and `down`: the same stack as the tests', kept running in the background.
//!
//! `up` leaves in its directory what `down` needs: the cluster's home and the process ids.

use crate::console::say;
use anyhow::{Context, Result, bail};
use lpm_tests::binaries;
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::gateway::{Gateway, address_in};
use lpm_tests::process::{Daemon, Lifetime, end};
use lpm_tests::stack::{ORG, Seed};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

/// The programs that `up` starts beside the cluster, each with a file of its process id.
const PROGRAMS: [&str; 2] = ["lpm-gateway", "lpm-test-issuer"];

/// The database of the development stack.
const DATABASE: &str = "lpm";

/// Starts everything, unless it runs already; what is left of a stack that has died is removed first.
pub(crate) async fn up(directory: &Path) -> Result<()> {
    if is_up(directory) {
        return say_ready(directory, "is running already");
    }
    if directory.exists() {
        dismantle(directory)?;
    }
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    match start(directory).await {
        Ok(()) => say_ready(directory, "is ready"),
        Err(error) => {
            // what has come up so far must not stay behind a failure
            dismantle(directory)?;
            Err(error)
        }
    }
}

async fn start(directory: &Path) -> Result<()> {
    let cluster = cluster::Options::default().durable().lifetime(Lifetime::Detached).start()?;
    fs::write(directory.join("cluster"), cluster.home().to_string_lossy().as_bytes())?;
    let logs = cluster.log_dir();

    let mut command = Command::new(binaries::path("lpm-test-issuer")?);
    let issuer = Daemon::start(&mut command, &logs.join("issuer.log"), "listening on", Lifetime::Detached)?;
    fs::write(directory.join("lpm-test-issuer.pid"), issuer.pid().to_string())?;
    let issuer_url = address_in(issuer.ready_line()).context("the issuer does not say where it listens")?;

    let seed = Seed::create(&cluster, DATABASE, &issuer_url).await?;
    let gateway = seed.gateway(&logs.join("gateway.log"), Lifetime::Detached)?;
    fs::write(directory.join("lpm-gateway.pid"), gateway.pid().to_string())?;

    write_environment(directory, &cluster, &seed, &gateway, &issuer_url)
}

/// The file that people and scripts source; it holds a token, so nobody else may read it.
fn write_environment(
    directory: &Path,
    cluster: &Cluster,
    seed: &Seed,
    gateway: &Gateway,
    issuer: &str,
) -> Result<()> {
    let (database, logs, metrics) = (seed.database.url(), cluster.log_dir(), gateway.metrics_url()?);
    let variables = [
        ("LPM_REGISTRY_URL", gateway.url()),
        ("LPM_TOKEN", &seed.alice),
        ("LPM_DEV_ORG", ORG),
        ("LPM_DEV_ISSUER_URL", issuer),
        ("LPM_DEV_DATABASE_URL", &database),
        ("LPM_DEV_METRICS_URL", &metrics),
        ("LPM_DEV_LOG_DIR", &logs.to_string_lossy()),
    ];
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    let programs = quoted(&binaries::directory()?.to_string_lossy());
    text.push_str(&format!("export PATH={programs}:\"$PATH\"\n"));
    // written aside and moved, so that `env` exists only when everything is ready
    let unfinished = directory.join("env.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(unfinished, directory.join("env"))?;
    Ok(())
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn say_ready(directory: &Path, what: &str) -> Result<()> {
    let environment = fs::canonicalize(directory.join("env"))?;
    say(format_args!(
        "The development stack {what}. To use it in this shell:\n\n    . {}\n",
        environment.display()
    ));
    Ok(())
}

/// Whether every part of the stack still runs.
fn is_up(directory: &Path) -> bool {
    let programs =
        PROGRAMS.iter().all(|program| pid_of(directory, program).is_some_and(|pid| runs(pid, program)));
    let home = fs::read_to_string(directory.join("cluster")).unwrap_or_default();
    programs && Cluster::attach(Path::new(&home)).is_ok_and(|cluster| cluster.is_running())
}

fn pid_of(directory: &Path, program: &str) -> Option<i32> {
    fs::read_to_string(directory.join(format!("{program}.pid"))).ok()?.trim().parse().ok()
}

/// Whether `pid` is still what we started: ids are used again.
fn runs(pid: i32, program: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|&byte| byte == 0).next().is_some_and(|name| name.ends_with(program.as_bytes()))
    })
}

/// Ends everything that `up` has started, whatever state it is in.
pub(crate) fn down(directory: &Path) -> Result<()> {
    if !directory.exists() {
        say("There is no development stack.");
        return Ok(());
    }
    dismantle(directory)?;
    say("The development stack is gone.");
    Ok(())
}

fn dismantle(directory: &Path) -> Result<()> {
    for program in PROGRAMS {
        if let Some(pid) = pid_of(directory, program).filter(|&pid| runs(pid, program)) {
            end(pid).with_context(|| format!("cannot end {program}"))?;
        }
    }
    if let Ok(home) = fs::read_to_string(directory.join("cluster")) {
        let home = Path::new(&home);
        if home.exists() {
            Cluster::attach(home)?.destroy()?;
        }
    }
    remove(directory)
}

/// Removes what `up` wrote; a directory with anything else in it was not ours to remove.
fn remove(directory: &Path) -> Result<()> {
    for name in ["env", "env.new", "cluster", "lpm-gateway.pid", "lpm-test-issuer.pid"] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot remove {name}: {error}")
            }
            _ => {}
        }
    }
    fs::remove_dir(directory)
        .with_context(|| format!("{} holds files that are not the stack's", directory.display()))
}
