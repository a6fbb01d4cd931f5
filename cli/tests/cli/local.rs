//! Commands that stay on the machine, from outside.

use crate::support::Machine;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

// --- set, get, list, delete -----------------------------------------------------------------------

#[test]
fn what_is_set_can_be_got() {
    let machine = Machine::new();
    let run = machine.lpm("env set API_KEY=sk-live PORT=8080 --env=production").ok().hides("sk-live");
    assert!(
        run.stdout.is_empty() && run.stderr.contains("set API_KEY, PORT in `production`"),
        "{}",
        run.stderr
    );
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
    machine.lpm("env get API_KEY --env production").prints("sk-live\n");
    machine.lpm("use vars get PORT --env=production").prints("8080\n");
    machine.lpm("env set EMPTY=").ok();
    machine.lpm("env get EMPTY").prints("\n");
    machine.lpm("env set URL=a=b=c").ok();
    machine.lpm("env get URL --env=default").prints("a=b=c\n");
}

#[test]
fn a_value_can_come_from_standard_input() {
    let machine = Machine::new();
    for (input, value) in
        [("s3 cret\n", "s3 cret"), ("a\nb\n", "a\nb"), ("x\r\n", "x"), ("no end", "no end"), ("\n\n", "\n")]
    {
        machine.input(&["env", "set", "KEY"], input).ok().hides("s3 cret");
        machine.lpm("env get KEY").prints(&format!("{value}\n"));
    }
    machine.input(&["env", "set", "A", "B"], "x").refused(2, "one variable only");
    machine.input(&["env", "set", "A=1", "B"], "x").ok();
    machine.lpm("env get B").prints("x\n");
}

#[test]
fn the_first_variable_makes_the_project() {
    let machine = Machine::new().with_vault();
    let document = machine.lpm_json();
    let vault = document["vault"].as_str().expect("it names a vault");
    assert_eq!(uuid::Uuid::parse_str(vault).map(|id| id.get_version_num()), Ok(4));
    assert_eq!(document, json!({ "vault": vault }));
    assert_eq!(machine.mode("lpm.json") & 0o400, 0o400);
    machine.lpm("env set OTHER=1").ok();
    assert_eq!(machine.lpm_json(), document, "and only the first");
}

#[test]
fn nothing_lies_in_the_clear_and_nothing_is_open_to_others() {
    let machine = Machine::new().with_vault();
    let mut files = 0;
    let mut directories = vec![machine.home()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            let mode = fs::metadata(&path).expect("it exists").permissions().mode() & 0o777;
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                directories.push(path);
                continue;
            }
            files += 1;
            assert_eq!(mode, 0o600, "{}", path.display());
            let bytes = fs::read(&path).expect("it can be read");
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("sk-live") && !text.contains("API_KEY") && !text.contains("production"));
        }
    }
    assert_eq!(files, 4, "the key, the variables, the id, the lock");
    let key = fs::read_to_string(machine.home().join(".lpm/.vault-key")).expect("it is there");
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn lists_name_variables_and_never_values() {
    let machine = Machine::new().with_vault();
    machine.lpm("env set B=hush A=hush").ok();
    machine.lpm("env list").prints("default\n  A\n  B\nproduction\n  API_KEY\n");
    machine.lpm("env list --env=default").prints("A\nB\n");
    let all = machine.lpm("env list --json").ok().hides("hush").json();
    assert_eq!(all["environments"], json!({"default": ["A", "B"], "production": ["API_KEY"]}));
    assert_eq!(
        machine.lpm("env list --env=default --json").json(),
        json!({"env": "default", "keys": ["A", "B"], "count": 2})
    );
}

#[test]
fn deleting_takes_all_that_are_named_or_none() {
    let machine = Machine::new();
    machine.lpm("env set A=1 B=2 C=3").ok();
    machine.lpm("env delete A X").refused(1, "variable 2 is not set in `default`, so nothing was deleted");
    machine.lpm("env list --env=default").prints("A\nB\nC\n");
    machine.lpm("env delete A B").ok();
    machine.lpm("env list --env=default").prints("C\n");
    assert_eq!(machine.lpm("env unset --all --json").ok().json()["deleted"], json!(["C"]));
    machine.lpm("env list").prints("");
    machine.lpm("env delete --all --env=nope").refused(1, "there is no environment `nope` on this machine");
}

#[test]
fn what_is_not_there_is_an_error() {
    let machine = Machine::new();
    machine.lpm("env get A").refused(1, "there is no vault here");
    machine.lpm("env list").refused(1, "there is no vault here");
    assert!(!machine.project().join("lpm.json").exists(), "asking makes no project");
    let machine = machine.with_vault();
    machine.lpm("env get A --env=production").refused(1, "there is no variable of that name in `production`");
    machine.lpm("env get API_KEY").refused(1, "there is no environment `default` on this machine");
}

#[test]
fn names_that_nothing_could_use_are_refused() {
    let machine = Machine::new();
    for name in ["A-B=x", "1A=x", "=x", "A B=x", "É=x", "A\nB=x"] {
        machine.args(&["env", "set", name]).refused(2, "variable 1 is neither KEY nor KEY=VALUE");
    }
    for name in ["prod uction", "a/b", "a,b", "é"] {
        machine.args(&["env", "set", "A=x", "--env", name]).refused(2, "is no environment's name");
    }
    machine.lpm("env set A=1 A=2").refused(2, "variable 2 has the KEY of one before it");
    assert!(!machine.project().join("lpm.json").exists(), "a refused command makes no project");
}

#[test]
fn failures_are_json_where_json_was_asked_for() {
    let machine = Machine::new().with_vault();
    let run = machine.lpm("env get NOPE --json");
    assert_eq!(run.code, Some(1));
    assert_eq!(run.json()["success"], json!(false));
    assert_eq!(run.json()["error"], json!("there is no environment `default` on this machine"));
    assert!(run.stderr.starts_with("lpm: there is no environment"), "{}", run.stderr);
    let run = Machine::new().with("LPM_JSON", "1").lpm("env get NOPE");
    assert_eq!((run.code, run.json()["code"].clone()), (Some(1), json!("failure")));
}

// --- aliases, ids, places -------------------------------------------------------------------------

#[test]
fn aliases_of_lpm_json_work_everywhere() {
    let machine = Machine::new();
    machine.write("lpm.json", r#"{"vault":"v","env":{"dev":".env.development"}}"#);
    machine.lpm("env set A=1 --env=dev").ok();
    machine.lpm("env list").prints("development\n  A\n");
    machine.lpm("env get A --env=dev").prints("1\n");
    machine.lpm("env get A --env=development").prints("1\n");
    machine.lpm("env run --env=dev -- printenv A").prints("1\n");
}

#[test]
fn a_new_id_takes_the_variables_along() {
    let machine = Machine::new().with_vault();
    let old = machine.lpm_json()["vault"].clone();
    let new = machine.lpm("env new-id").ok().stdout;
    assert_eq!(machine.lpm_json()["vault"], json!(new.trim()));
    assert_ne!(machine.lpm_json()["vault"], old);
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
    machine.args(&["env", "list", "--vault", old.as_str().expect("text")]).prints("");
    machine.lpm("env new-id --vault=x").refused(2, "`new-id` changes lpm.json");
    let before = machine.read("lpm.json");
    machine.replace_key(&"ab".repeat(32));
    machine.lpm("env new-id").refused(1, "do not open with its vault key");
    assert_eq!(machine.read("lpm.json"), before, "the id stays with its variables");
}

#[test]
fn another_vault_can_be_named() {
    let machine = Machine::new().with_vault();
    machine.lpm("env set A=1 --vault=other").ok();
    machine.lpm("env list --vault=other").prints("default\n  A\n");
    machine.lpm("env list").prints("production\n  API_KEY\n");
    let before = machine.read("lpm.json");
    let machine = machine.with("LPM_VAULT_ID", "other");
    machine.lpm("env get A").prints("1\n");
    assert_eq!(machine.read("lpm.json"), before);
    // Defined and empty, as CI systems have it, is not defined.
    machine.with("LPM_VAULT_ID", "").lpm("env get API_KEY --env=production").prints("sk-live\n");
}

#[test]
fn a_damaged_project_is_left_alone() {
    let machine = Machine::new();
    machine.write("lpm.json", "{\"vault\": \"a\", \"vault\": \"b\"}");
    machine.lpm("env set A=1").refused(1, "lpm.json");
    assert_eq!(machine.read("lpm.json"), "{\"vault\": \"a\", \"vault\": \"b\"}");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let machine = Machine::new().with_vault();
    let key = machine.home().join(".lpm/.vault-key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it can be set");
    machine.lpm("env get API_KEY --env=production").refused(1, "can be read by others (mode 644)");
    machine.lpm("env set A=1").refused(1, "chmod 600");
}

#[test]
fn without_a_home_there_is_an_error_and_no_file() {
    let machine = Machine::new().with("HOME", "");
    machine.lpm("env set A=1").refused(1, "HOME is not set");
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let machine = Machine::new().with_vault();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let machine = &machine;
            scope.spawn(move || machine.lpm(&format!("env set K{i}={i}")).ok());
        }
    });
    let keys = machine.lpm("env list --env=default --json").json();
    assert_eq!(keys["count"], json!(8));
}

// --- import and export ----------------------------------------------------------------------------

#[test]
fn a_dotenv_file_goes_in_and_comes_out() {
    let machine = Machine::new();
    machine.write("in.env", "# c\nexport A=1\nB=\"two\\nlines\"\nC='it $5'\nA=2\n");
    let run = machine.lpm("env import in.env --env=production --json").ok().json();
    assert_eq!((&run["count"], &run["added"]), (&json!(3), &json!(3)));
    machine.lpm("env export --env=production --output=out.env").ok();
    assert_eq!(machine.mode("out.env"), 0o600);
    machine.lpm("env import out.env --env=again").ok();
    let vars = |env| machine.lpm(&format!("env export --env={env} --json")).ok().json()["vars"].clone();
    assert_eq!(vars("again"), json!({"A": "2", "B": "two\nlines", "C": "it $5"}));
    assert_eq!(vars("again"), vars("production"));
}

#[test]
fn an_import_adds_unless_it_replaces() {
    let machine = Machine::new();
    machine.lpm("env set A=1 B=1").ok();
    let run = machine.input(&["env", "import", "-"], "B=2\nC=3\n").ok();
    assert!(run.stderr.contains("1 added, 1 changed, 0 removed"), "{}", run.stderr);
    machine.lpm("env list --env=default").prints("A\nB\nC\n");
    let run = machine.input(&["env", "import", "-", "--replace"], "C=3\n").ok();
    assert!(run.stderr.contains("0 added, 0 changed, 2 removed"), "{}", run.stderr);
    machine.lpm("env list --env=default").prints("C\n");
}

#[test]
fn a_file_that_is_not_understood_changes_nothing() {
    let machine = Machine::new().with_vault();
    machine.write("bad.env", "A=1\nhush\n");
    machine
        .lpm("env import bad.env --env=production --replace")
        .refused(2, "`bad.env` line 2: there is no `=`")
        .hides("hush");
    machine.lpm("env list").prints("production\n  API_KEY\n");
    machine.lpm("env import missing.env").refused(1, "cannot read the file to import: No such file");
}

#[test]
fn an_export_has_every_form() {
    let machine = Machine::new();
    machine.lpm("env set A=1").ok();
    machine.args(&["env", "set", "B=it's $HOME"]).ok();
    machine.lpm("env export").prints(
        "# LPM vault secrets (env: default)\n# Exported from this machine\nA=1\nB=\"it's \\$HOME\"\n",
    );
    machine.lpm("env export --output=-").prints("export A='1'\nexport B='it'\\''s $HOME'\n");
    machine.lpm("env export --format=shell").prints("export A='1'\nexport B='it'\\''s $HOME'\n");
    machine.lpm("env export --format=docker").prints("A=1\nB=it's $HOME\n");
    assert_eq!(machine.lpm("env export --format=json").ok().json(), json!({"A": "1", "B": "it's $HOME"}));
    let document = json!({"env": "default", "vars": {"A": "1", "B": "it's $HOME"}, "count": 2});
    assert_eq!(machine.lpm("env export --json").ok().json(), document);
    let summary = machine.lpm("env export --json --output=x.env").ok().hides("HOME").json();
    assert_eq!(summary, json!({"success": true, "env": "default", "count": 2, "output": "x.env"}));
    machine.lpm("env export --json --output=-").code.map(|code| assert_eq!(code, 2)).expect("it ended");
    machine.lpm("env export --format=yaml").refused(2, "must be one of dotenv, shell, json, docker, github");
}

#[test]
fn an_export_into_a_shell_is_exact_whatever_the_value_holds() {
    let machine = Machine::new();
    let nasty = "'; touch pwned; '$(touch pwned)`touch pwned`\\\n\"x\" \u{1b}[31m é  ";
    machine.input(&["env", "set", "NASTY"], nasty).ok();
    let run = machine.sh("eval \"$(lpm env export --output=-)\" && printf %s \"$NASTY\"").ok();
    assert_eq!(run.stdout, nasty);
    machine.lpm("env export --output=.env").ok();
    let run = machine.sh("set -a; . ./.env; printf %s \"$NASTY\"").ok();
    assert_eq!(run.stdout, nasty);
    assert!(!machine.project().join("pwned").exists());
}

#[test]
fn a_form_that_cannot_carry_a_value_says_so() {
    let machine = Machine::new();
    machine.input(&["env", "set", "A"], "hush\nhush").ok();
    machine.lpm("env export --format=docker").refused(1, "the value of `A` has a line break").hides("hush");
    machine.lpm("env export --format=docker --output=x.env").refused(1, "docker");
    assert!(!machine.project().join("x.env").exists());
}

#[test]
fn an_output_replaces_a_file_in_one_step_and_follows_no_mode() {
    let machine = Machine::new().with_vault();
    machine.write(".env", "old");
    machine.lpm("env export --env=production --output=.env").ok();
    assert_eq!(machine.mode(".env"), 0o600);
    assert!(machine.read(".env").ends_with("API_KEY=sk-live\n"));
    machine.lpm("env export --env=nope --output=.env").refused(1, "there is no environment `nope`");
    assert!(machine.read(".env").contains("sk-live"), "a failure leaves the old file");
    machine.lpm("env export --env=production --output=/dev/null").ok();
    machine
        .lpm("env export --env=production --output=no/such/file")
        .refused(1, "cannot write `no/such/file`");
    machine.lpm("env export --env=production --output=.").refused(1, "it is a directory");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let machine = Machine::new();
    machine.input(&["env", "set", "BIG"], &"x".repeat(1 << 20)).ok();
    let run = machine.sh("lpm env get BIG | head -c 3; exit 0").ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("xxx", ""));
    let run = machine.sh("(lpm env get BIG; echo $? >&2) | true").ok();
    assert_eq!(run.stderr, "0\n");
}

// --- the program itself ---------------------------------------------------------------------------

#[test]
fn version_and_help_go_to_standard_output() {
    let machine = Machine::new();
    machine.lpm("--version").prints(concat!("lpm ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = machine.lpm("--help").ok();
    assert!(help.stdout.contains("Examples:") && help.stderr.is_empty());
    assert!(!help.stdout.contains("  use "), "the second spelling is not advertised");
    let help = machine.lpm("env set --help").ok().stdout;
    let (typed, on_line) = (help.find("asks for the value"), help.find("PORT=8080"));
    assert!(typed.is_some() && typed < on_line, "the safe way stands first:\n{help}");
}

#[test]
fn help_never_shows_what_a_variable_holds() {
    let machine = Machine::new()
        .with("LPM_TOKEN", "hush")
        .with("LPM_REGISTRY_URL", "https://hush")
        .with("LPM_ENV", "hush");
    for command in ["--help", "env --help", "env pull --help", "env oidc allow --help"] {
        machine.lpm(command).ok().hides("hush");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let machine = Machine::new();
    for line in ["", "env", "env nope", "env get", "env run", "nope", "env push --nope", "ci setup jenkins"] {
        let run = machine.lpm(line);
        assert_eq!(run.code, Some(2), "{line}");
        assert!(run.stdout.is_empty(), "{line}");
    }
}
