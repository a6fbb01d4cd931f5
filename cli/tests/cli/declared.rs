//! `check` and `example` against `envSchema`, and the published client's own file.

use crate::support::Machine;
use serde_json::json;

const SCHEMA: &str = r#"{"vault":"v1","env":{"prod":".env.production"},"envSchema":{
    "DATABASE_URL":{"required":true,"format":"url","secret":true,"description":"where the data is","default":null},
    "LEVEL":{"enum":["debug","info"],"default":"info"},
    "KEY":{"pattern":"^sk-"}}}"#;

fn project(text: &str) -> Machine {
    let machine = Machine::new();
    machine.write("lpm.json", text);
    machine
}

#[test]
fn every_violation_is_named_and_no_value_shown() {
    let machine = project(SCHEMA);
    machine.lpm("env set DATABASE_URL=hush-1 LEVEL=hush-2 KEY=hush-3").ok();
    machine.lpm("env set DATABASE_URL=postgres://u:hush@db/x KEY=sk-hush OTHER=hush --env=production").ok();
    let run = machine.lpm("env check").hides("hush");
    assert_eq!(run.code, Some(1));
    assert_eq!(
        run.stdout,
        "default: DATABASE_URL is not an address such as https://example.com/x (format url)\n\
         default: LEVEL is none of debug, info\ndefault: KEY does not match the pattern `^sk-`\n"
    );
    assert!(
        run.stderr.contains("`default`, `production`: 3 variables are not as lpm.json declares them"),
        "{}",
        run.stderr
    );
    let run = machine.lpm("env check --json").hides("hush");
    assert_eq!((run.code, &run.json()["violations"]), (Some(1), &json!(3)));
    assert_eq!(run.json()["environments"]["production"], json!([]));
    machine.lpm("env check --env=prod").prints("");
}

#[test]
fn what_is_required_is_missed_in_an_environment_that_nobody_made() {
    let machine = project(SCHEMA);
    machine.lpm("env check").refused(1, "there are no variables on this machine");
    let run = machine.lpm("env check --env=staging");
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), "staging: DATABASE_URL is required and not set\n"));
}

#[test]
fn without_a_schema_or_with_a_wrong_one_nothing_passes() {
    let machine = project(r#"{"vault":"v1"}"#);
    machine.lpm("env set A=1").ok();
    for command in ["env check", "env example"] {
        machine.lpm(command).refused(1, "lpm.json has no `envSchema`");
    }
    machine.write("lpm.json", r#"{"vault":"v1","envSchema":{"A":{"format":"uuid"},"B":7}}"#);
    for command in ["env check", "env example"] {
        let run = machine.lpm(command).refused(1, "`A` has the unknown format `uuid`");
        assert!(run.stderr.contains("`B` must be an object, not a number"), "{}", run.stderr);
    }
    assert!(!machine.project().join(".env.example").exists());
}

#[test]
fn an_example_is_written_beside_lpm_json_and_replaces_only_its_own() {
    let machine = project(SCHEMA);
    machine.lpm("env set DATABASE_URL=hush").ok();
    machine.lpm("env example").ok().hides("hush");
    let text = machine.read(".env.example");
    assert!(text.starts_with("# Made by `lpm env example` from lpm.json\n\n# where the data is\n# required; secret; url\nDATABASE_URL=\n"), "{text}");
    assert!(text.contains("\nLEVEL=info\n") && !text.contains("hush"), "{text}");
    machine.lpm("env example --output=-").prints(&text);
    machine.lpm("env example").ok();
    machine.write(".env.example", "MINE=1\n");
    machine.lpm("env example").refused(1, "was not made by this command, so it stays");
    assert_eq!(machine.read(".env.example"), "MINE=1\n");
    machine.lpm("env example --force --json").ok();
    assert_eq!(machine.read(".env.example"), text);
    machine.args(&["env", "import", ".env.example", "--env=copy"]).ok();
}

// --- the published client's own file ---

/// Made by Python's hashlib and cryptography at that client's own cost.
const SEALED: &str =
    "AAECAwQFBgcICQoL:eqSAQ0kPFNptMcFXuPsD6A==:hQhek/HoUBhSVQXrj+4A4DBbq/O0dT1/EVhaxhghiF4bx85EeTuVbZKYZAcd";

fn published(vault: &str) -> Machine {
    let machine = project(&format!(r#"{{"vault":"{vault}"}}"#));
    let home = machine.home().join(".lpm");
    std::fs::create_dir_all(home.join("vaults")).expect("made");
    std::fs::write(home.join("vaults/v1.enc"), SEALED).expect("written");
    machine
}

fn with_key(machine: &Machine) {
    use std::os::unix::fs::PermissionsExt;
    let home = machine.home().join(".lpm");
    std::fs::write(home.join(".vault-fallback-key"), "A1b2C3d4".repeat(8)).expect("written");
    std::fs::set_permissions(home.join(".vault-fallback-key"), std::fs::Permissions::from_mode(0o600))
        .expect("set");
    std::fs::write(home.join(".vault-salt"), (0..32).collect::<Vec<u8>>()).expect("written");
}

#[test]
fn the_published_clients_variables_are_read_once_and_never_written() {
    let machine = published("v1");
    with_key(&machine);
    let run = machine.lpm("env list").prints("default\n  OLD\n").hides("s3cret");
    assert!(
        run.stderr.contains("from the published client's file once; that takes a few seconds"),
        "{}",
        run.stderr
    );
    let run = machine.lpm("env get OLD").prints("s3cret\n");
    assert_eq!(run.stderr, "", "they are ours now");
    machine.lpm("env set OLD=new").ok();
    machine.lpm("env get OLD").prints("new\n");
    let kept = std::fs::read_to_string(machine.home().join(".lpm/vaults/v1.enc")).expect("there");
    assert_eq!(kept, SEALED);
}

#[test]
fn what_cannot_be_read_of_the_published_client_is_not_passed_over() {
    let machine = published("v1");
    machine.lpm("env set NEW=1").refused(1, "are there, but not its `.vault-fallback-key`");
    machine.lpm("env list").refused(1, "`lpm env pull --force` takes the server's copy instead");
    // Another vault has nothing to do with it.
    published("v2").lpm("env set NEW=1").ok();
}
