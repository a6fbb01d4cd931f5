//! The command line on a developer's machine and on runners, and what a DBA types.

use crate::client::job;
use crate::world::World;
use anyhow::{Context, Result, ensure};
use lpm_core::envelope::vault;
use lpm_core::secret::Secret;
use lpm_tests::cli::{Machine, Outcome};
use lpm_tests::issuer::TokenRequest;
use std::path::Path;

const ALLOW: [&str; 6] = ["env", "oidc", "allow", "--repo=acme/web", "--branch=main", "--env=production"];

pub(crate) async fn play(world: &mut World, round: usize) -> Result<()> {
    let token = world.token("clara")?;
    let machine = Machine::new()?.with("LPM_REGISTRY_URL", world.gateway.url()).with("LPM_TOKEN", &token);
    developer(world, &machine)?;
    runners(world, &machine)?;
    wrong(world, &machine)?;
    escrow_keys(world, round)
}

/// Runs a command; what it prints holds no secret.
fn quiet(world: &mut World, machine: &Machine, arguments: &[&str], code: i32) -> Result<Outcome> {
    let outcome = machine.lpm(arguments)?.exits_with(code).with_context(|| arguments.join(" "))?;
    world.printed.push_str(&outcome.stdout);
    world.printed.push_str(&outcome.stderr);
    Ok(outcome)
}

fn developer(world: &mut World, machine: &Machine) -> Result<()> {
    let (typed, piped) = (world.markers.secret("value typed"), world.markers.secret("value piped"));
    let imported = world.markers.secret("value imported");
    quiet(world, machine, &["env", "set", &format!("API_KEY={typed}"), "--env=production"], 0)?;
    let outcome = machine.lpm_with_input(["env", "set", "DB_PASSWORD", "--env=production"], &piped)?.ok()?;
    world.printed.push_str(&(outcome.stdout + &outcome.stderr));
    machine.write("staging.env", &format!("TOKEN={imported}\n"))?;
    quiet(world, machine, &["env", "import", "staging.env", "--env=staging"], 0)?;
    machine.write("bad.env", &format!("TOKEN=\"{imported}\nthis is no line\n"))?;
    quiet(world, machine, &["env", "import", "bad.env"], 2)?;
    quiet(world, machine, &["env", "list"], 0)?;
    quiet(world, machine, &["env", "push"], 0)?;
    keys_of(world, machine)?;
    quiet(world, machine, &ALLOW, 0)?;
    for arguments in [
        &["env", "oidc", "list"][..],
        &["env", "log"],
        &["env", "pull"],
        &["env", "export", "--env=production", "--output=all.env"],
    ] {
        quiet(world, machine, arguments, 0)?;
    }
    Ok(())
}

/// The keys that `lpm` has made for itself.
fn keys_of(world: &mut World, machine: &Machine) -> Result<()> {
    let text = std::fs::read_to_string(machine.home().join(".lpm/.vault-key"))?;
    let wrapping_key = hex::decode(text.trim())?;
    let sql = format!("select wrapped_key from lpm.vault_sync where vault_id = '{}'", machine.vault_id()?);
    let wrapped = world.seed.database.value(&sql)?;
    let aes_key = vault::open_wrapped_key(&Secret::new(wrapping_key.clone()), &wrapped)?;
    world.markers.known("wrapping key of a machine, written", hex::encode(&wrapping_key));
    world.markers.known("wrapping key of a machine", wrapping_key);
    world.markers.known("AES key of a push by lpm", aes_key.expose());
    Ok(())
}

/// A runner whose job holds a token for `request`.
fn runner(world: &mut World, machine: &Machine, case: &str, request: &TokenRequest) -> Result<Machine> {
    let token = world.mint(case, request)?;
    Ok(machine.runner(world.gateway.url())?.with("LPM_OIDC_TOKEN", token))
}

const PULL: [&str; 5] = ["env", "pull", "--oidc", "--env=production", "--output=.env"];

fn runners(world: &mut World, machine: &Machine) -> Result<()> {
    let granted = runner(world, machine, "of a runner", &job())?;
    quiet(world, &granted, &PULL, 0)?;
    ensure!(granted.read(".env")?.contains("API_KEY="), "the file holds what was pulled");
    quiet(world, &granted, &PULL, 3)?;
    for (case, request) in [
        ("of a runner on another branch", job().branch("feature/x")),
        ("of a stranger's runner", TokenRequest::github().repository("evil/web")),
        ("of a runner that is late", job().claim("iat", 1_600_000_000).claim("exp", 1_600_000_300)),
    ] {
        let runner = runner(world, machine, case, &request)?;
        quiet(world, &runner, &PULL, 3)?;
    }
    let staging = runner(world, machine, "of a runner for staging", &job())?;
    quiet(world, &staging, &["env", "pull", "--oidc", "--env=staging"], 3)?;

    let running = runner(world, machine, "of a runner that runs a command", &job())?;
    quiet(world, &running, &["env", "run", "--oidc", "--env=production", "--", "true"], 0)?;

    // What goes to GitHub's log to be masked there is meant to be a secret; the rest is not.
    let masking = machine.runner(world.gateway.url())?.github(&world.issuer.runtime(&job().claims));
    let outcome = masking.lpm(PULL)?.ok()?;
    let masks = |line: &&str| line.starts_with("::add-mask::");
    ensure!(outcome.stderr.lines().any(|line| masks(&line)), "{}", outcome.stderr);
    world.printed.extend(outcome.stderr.lines().filter(|line| !masks(line)));
    world.printed.push_str(&outcome.stdout);
    Ok(())
}

fn wrong(world: &mut World, machine: &Machine) -> Result<()> {
    let (revoked, other) = (world.token("revoked-too")?, world.token("clarissa")?);
    world.seed.database.value("select lpm.revoke_tokens('revoked-too')")?;
    let garbage = world.markers.secret("token that is none");
    for token in [&revoked, &other, &garbage, &other[..30].to_owned()] {
        let strange = Machine::new()?.with("LPM_REGISTRY_URL", world.gateway.url()).with("LPM_TOKEN", token);
        std::fs::copy(machine.project().join("lpm.json"), strange.project().join("lpm.json"))?;
        let (pulled, listed) = (strange.lpm(["env", "pull"])?, strange.lpm(["env", "oidc", "list"])?);
        ensure!(pulled.code != Some(0), "pulled with a wrong token");
        world.printed.extend([pulled.stdout, pulled.stderr, listed.stdout, listed.stderr]);
    }
    // a machine with another key, and one whose key file is broken
    let key = hex::encode(world.key("wrapping key of the wrong machine")?);
    for text in [key.clone(), format!("{key}g")] {
        let other = Machine::new()?.with("LPM_REGISTRY_URL", world.gateway.url());
        let other = other.with("LPM_TOKEN", machine.variables()["LPM_TOKEN"].as_str());
        std::fs::copy(machine.project().join("lpm.json"), other.project().join("lpm.json"))?;
        write_key(&other.home(), &text)?;
        quiet(world, &other, &["env", "pull"], 1)?;
        quiet(world, &other, &ALLOW, 1)?;
    }
    Ok(())
}

fn write_key(home: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = home.join(".lpm/.vault-key");
    std::fs::create_dir_all(home.join(".lpm"))?;
    std::fs::write(&path, text)?;
    Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?)
}

/// Key files of every wrong form: the server says what is wrong with them, and not what stands in them.
fn escrow_keys(world: &mut World, round: usize) -> Result<()> {
    let key = hex::encode(world.key(&format!("escrow key of a broken file {round}"))?);
    let database = world.seed.database.clone();
    for text in [
        format!("{key}0\n"),
        format!("dev:{key}g\n"),
        format!("dev {key}\n"),
        format!("dev:{key}\ndev:{key}\n"),
        format!("{key}:dev\n"),
        format!("\"{key}\"\n"),
    ] {
        world.cluster.write_escrow_keys(&text)?;
        let outcome = database.psql("select lpm.reload_escrow_keys()")?;
        world.printed.push_str(&String::from_utf8_lossy(&outcome.stderr));
        world.printed.push_str(&database.table("select * from lpm.health")?);
    }
    world.cluster.write_escrow_keys(&world.escrow_keys)?;
    database.value("select lpm.reload_escrow_keys()")?;
    Ok(())
}
