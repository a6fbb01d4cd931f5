//! What is typed in the wrong place may be a value, and what is printed may be kept by a CI system: no error
//! repeats it.

use crate::support::gateway::{developer, pulled};
use crate::support::server::{Reply, Server};
use crate::support::{Machine, Run};
use serde_json::json;

/// The value is `hush`, and is not shown.
#[track_caller]
fn refused(machine: &Machine, arguments: &[&str], code: i32, said: &str) -> Run {
    machine.args(arguments).refused(code, said).hides("hush")
}

#[test]
fn a_value_beside_its_variable_is_not_repeated() {
    const NO_KEY: &str = "is neither KEY nor KEY=VALUE; a KEY has letters, digits and `_`, no digit first";
    let machine = Machine::new();
    for (case, variables, said) in [
        ("a blank for the `=`", &["API_KEY", "sk-hush"][..], format!("variable 2 {NO_KEY}")),
        ("the first", &["sk-hush", "API_KEY"], format!("variable 1 {NO_KEY}")),
        ("the third", &["A=1", "B=2", "hush hush"], format!("variable 3 {NO_KEY}")),
        ("blanks around the `=`", &["API_KEY", "=", "sk-hush"], format!("variable 2 {NO_KEY}")),
        ("an address", &["URL", "https://me:hush@db/x?ssl=on"], format!("variable 2 {NO_KEY}")),
        ("no name", &["=hush"], format!("variable 1 {NO_KEY}")),
        ("a name with a dash", &["API-hush=hush"], format!("variable 1 {NO_KEY}")),
        ("two lines", &["KEY", "hush\nhush"], format!("variable 2 {NO_KEY}")),
        ("like a name", &["API_KEY", "hush2"], "one variable only".to_owned()),
        ("base64", &["API_KEY", "aHVzaAhush=="], "variable 2 has a value, but the one before it".to_owned()),
        ("the same twice", &["hush=1", "hush=2"], "variable 2 has the KEY of one before it".to_owned()),
        ("like a name, twice", &["A", "hush", "hush"], "variable 3 has the KEY of one before it".to_owned()),
    ] {
        let run = refused(&machine, &[&["env", "set"], variables].concat(), 2, &said);
        assert!(run.stderr.contains("hint: "), "{case}: {}", run.stderr);
    }
    assert!(!machine.project().join("lpm.json").exists(), "a refused command makes no project");
}

#[test]
fn a_failure_as_json_does_not_repeat_it_either() {
    let run = Machine::new().args(&["env", "set", "API_KEY", "sk-hush", "--json"]).hides("hush");
    assert_eq!((run.code, run.json()["code"].clone()), (Some(2), json!("usage")));
}

#[test]
fn a_value_that_cannot_be_read_is_named_by_its_position() {
    let machine = Machine::new();
    let run = machine.sh("printf 'hush\\377' | lpm env set A=1 hush_name");
    run.refused(1, "cannot read the value of variable 2: ").hides("hush");
    assert!(!machine.project().join("lpm.json").exists());
}

#[test]
fn a_value_where_no_argument_belongs_is_not_repeated() {
    let machine = Machine::new().with_vault();
    for (arguments, said) in [
        (&["env", "API_KEY=hush"][..], "unrecognized subcommand 'word 2 after `lpm`'"),
        (&["hush"], "unrecognized subcommand 'word 1 after `lpm`'"),
        (&["help", "hush"], "unrecognized subcommand"),
        (&["env", "oidc", "hush"], "unrecognized subcommand 'word 3 after `lpm`'"),
        (&["env", "get", "API_KEY", "hush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "list", "API_KEY=hush"], "unexpected argument 'word 3 after `lpm`'"),
        (&["env", "import", ".env", "API_KEY=hush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "export", "API_KEY=hush"], "unexpected argument 'word 3 after `lpm`'"),
        (&["env", "push", "--", "hush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "new-id", "hush"], "unexpected argument 'word 3 after `lpm`'"),
        (&["ci", "setup", "gitlab", "hush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "oidc", "revoke", "p", "hush"], "unexpected argument 'word 5 after `lpm`'"),
        (&["env", "set", "KEY", "-xhush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "set", "KEY", "--hush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "set", "KEY", "--hush=hush"], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "set", "KEY", "-----BEGIN KEY-----\nhush="], "unexpected argument 'word 4 after `lpm`'"),
        (&["env", "set", "KEY", "--value=hush"], "tip: a similar argument exists: '--vault'"),
        (&["env", "pus", "hush"], "tip: some similar subcommands exist: 'pull', 'push'"),
        (&["env", "push", "--force=hush"], "unexpected value '…' for '--force'"),
        (&["env", "export", "--format=hush"], "must be one of dotenv, shell, json, docker, github"),
        (&["env", "push", "--timeout", "hush"], "must be a number of seconds from 1 to 3600"),
        (&["env", "push", "--timeout", "0"], "invalid value '…' for '--timeout <SECONDS>'"),
        (&["env", "push", "--timeout", "3601"], "must be a number of seconds from 1 to 3600"),
        (&["ci", "setup", "hush"], "possible values: github-actions, gitlab"),
    ] {
        refused(&machine, arguments, 2, said);
    }
    for (variable, command) in [("LPM_FORMAT", "env export"), ("LPM_TIMEOUT", "env push")] {
        let run = Machine::new().with(variable, "hush").lpm(command).refused(2, "invalid value '…'");
        run.hides("hush");
    }
}

#[test]
fn a_value_in_place_of_a_name_is_not_repeated() {
    let machine = Machine::new().with_vault().with("LPM_TOKEN", "t");
    for (arguments, code, said) in [
        (&["env", "get", "API_KEY=hush", "--env=production"][..], 1, "there is no variable of that name"),
        (&["env", "get", "hush", "--env=production"], 1, "there is no variable of that name in `production`"),
        (
            &["env", "delete", "API_KEY", "hush", "--env=production"],
            1,
            "variable 2 is not set in `production`",
        ),
        (&["env", "delete", "API_KEY=hush", "--env=production"], 1, "variable 1 is not set in `production`"),
        (&["env", "import", "API_KEY=hush"], 1, "cannot read the file to import: "),
        (&["env", "import", "hush/hush"], 1, "cannot read the file to import: "),
        (&["env", "oidc", "explain", "--claims=eyJhush"], 1, "cannot read the file of `--claims`: "),
        (&["env", "oidc", "repin", "hush"], 2, "the subject must begin with `repo:` or `project:`"),
        (&["ci", "setup", "gitlab", "--owner=hush"], 2, "LPM_VAULT_OWNER (`--owner`) must be a uuid"),
        (&["ci", "setup", "gitlab", "--vault=$hush"], 2, "LPM_VAULT_ID cannot stand in a workflow"),
        (&["ci", "setup", "gitlab", "--registry-url=https://a/$hush"], 2, "LPM_REGISTRY_URL cannot stand in"),
        (&["env", "push", "--registry-url=hush"], 2, "LPM_REGISTRY_URL must be an address"),
        (&["env", "push", "--registry-url=https://me:hush@a"], 2, "must not contain a user or a password"),
    ] {
        refused(&machine, arguments, code, said);
    }
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
}

#[test]
fn a_value_in_place_of_an_environment_is_neither_repeated_nor_sent() {
    const NO_ENVIRONMENT: &str = "`--env` takes the name of an environment, not NAME=VALUE";
    let server = Server::new(|_, _| pulled());
    let machine = developer(&server);
    // As `docker run --env` has it.
    refused(&machine, &["env", "run", "--env", "API_KEY=hush", "--", "true"], 2, NO_ENVIRONMENT);
    let before = machine.read("lpm.json");
    let machine = machine.with("LPM_ENV", "API_KEY=hush").with("LPM_OIDC_TOKEN", "jwt");
    for command in [
        "env set A=1",
        "env get A",
        "env list",
        "env delete A",
        "env delete --all",
        "env import -",
        "env export",
        "env pull --output=.env",
        "env pull --oidc",
        "env run -- true",
        "env run --oidc -- true",
        "env oidc explain",
        "ci setup gitlab",
    ] {
        machine.lpm(command).refused(2, NO_ENVIRONMENT).hides("hush");
    }
    assert!(server.requests().is_empty(), "{:?}", server.lines());
    assert_eq!(machine.read("lpm.json"), before);
}

#[test]
fn a_value_that_no_environment_could_be_called_is_not_repeated() {
    let machine = Machine::new().with_vault().with("LPM_TOKEN", "t");
    let allow = ["env", "oidc", "allow", "--repo=a/b"];
    for (arguments, code, said) in [
        (&["env", "set", "A=1", "--env=hush/hush"][..], 2, "`--env` is no environment's name: 1 to 64 of"),
        (&["env", "import", "-", "--env=hush hush"], 2, "`--env` is no environment's name"),
        (&["ci", "setup", "gitlab", "--env=hush:hush"], 2, "`--env` is no environment's name"),
        (&["env", "export", "--env=hush/hush"], 1, "there is no environment `…` on this machine"),
        (&["env", "run", "--env=hush hush", "--", "true"], 1, "there is no environment `…` on this machine"),
        (&["env", "delete", "--all", "--env=hush@hush"], 1, "there is no environment `…` on this machine"),
        (&["env", "get", "A", "--env=hushé"], 1, "there is no environment `…` on this machine"),
        (
            &[&allow[..], &["--env=a,API_KEY=hush"]].concat(),
            2,
            "environment 2 of `--env` is no environment's name",
        ),
        (
            &[&allow[..], &["--env", "hush hush"]].concat(),
            2,
            "environment 1 of `--env` is no environment's name",
        ),
    ] {
        refused(&machine, arguments, code, said);
    }
}

#[test]
fn a_variable_before_the_command_to_run_is_not_repeated() {
    let machine = Machine::new().with_vault();
    let run = ["env", "run", "--env=production", "--"];
    // As shells have it.
    let arguments = [&run[..], &["API_KEY=hush", "true"]].concat();
    let said = refused(&machine, &arguments, 127, "cannot run the command: ");
    assert!(said.stderr.contains("hint: for a variable of the command alone"), "{}", said.stderr);
    let said = refused(&machine, &[&run[..], &["hush"]].concat(), 127, "cannot run the command: ");
    assert!(!said.stderr.contains("hint: "), "{}", said.stderr);
    machine.args(&[&run[..], &["env", "NAME=VALUE", "printenv", "NAME"]].concat()).prints("VALUE\n");
}

#[test]
fn a_value_beside_an_allowed_name_is_not_repeated_and_allows_nothing() {
    let machine = Machine::new();
    machine.lpm("env set LD_PRELOAD=x").ok();
    for arguments in [
        &["env", "run", "--allow-name=LD_PRELOAD=hush", "--", "true"][..],
        &["env", "run", "--allow-name=hush", "--", "true"],
        &["env", "export", "--output=-", "--allow-name=LD_PRELOAD hush"],
    ] {
        refused(&machine, arguments, 1, "refused to let `LD_PRELOAD` into a process");
    }
}

#[test]
fn a_line_that_is_not_understood_is_named_by_its_number() {
    let machine = Machine::new();
    for (text, said) in [
        ("API_KEY sk-hush\n", "`-` line 1: there is no `=`"),
        ("A=1\nhush hush=1\n", "`-` line 2: what is before `=` is no name"),
        ("A='hush\n", "`-` line 1: the quotes are not closed"),
        ("A='x'hush\n", "`-` line 1: something follows the closing quote"),
    ] {
        machine.input(&["env", "import", "-"], text).refused(2, said).hides("hush");
    }
    let run = machine.sh("printf 'A=hush\\377' | lpm env import -");
    run.refused(1, "cannot read the file to import: ").hides("hush");
    assert!(!machine.project().join("lpm.json").exists());
}

#[test]
fn a_key_in_place_of_its_fingerprint_is_not_repeated() {
    let public = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [9; 32]);
    let shown = lpm_core::envelope::fingerprint(&[9; 32]);
    let server = Server::new(move |request, _| match request.line.as_str() {
        "GET /api/vaults/v%2F1/sync" => pulled(),
        _ => {
            let body = json!({"keyId": "k1", "publicKey": public, "fingerprint": shown});
            Reply::new(200, body.to_string())
        }
    });
    let machine = developer(&server);
    let allow = ["env", "oidc", "allow", "--repo=a/b", "--env=p", "--accept-escrow-key=hush"];
    refused(&machine, &allow, 3, "but `--accept-escrow-key` names another");
    assert!(server.lines().iter().all(|line| line.starts_with("GET")), "{:?}", server.lines());
}
