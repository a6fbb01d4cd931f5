//! `lpm ci setup`, and what the network commands refuse before there is any network.

use crate::support::Machine;
use serde_json::json;

const OWNER: &str = "0192f0c4-0000-4000-8000-000000000001";

fn project() -> Machine {
    let machine = Machine::new().with("LPM_REGISTRY_URL", "https://lpm.example.com/");
    machine.write(
        "lpm.json",
        &format!(r#"{{"vault":"{OWNER}","vaultOwner":"{OWNER}","env":{{"prod":".env.production"}}}}"#),
    );
    machine
}

// --- ci setup -------------------------------------------------------------------------------------

#[test]
fn the_promised_snippets_are_printed_line_by_line() {
    let github = project().lpm("ci setup github-actions").ok();
    let promised = "name: Build\non: push\npermissions:\n  id-token: write\n  contents: read\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - uses: actions/setup-node@v4\n        with:\n          node-version: 22\n      - name: Install LPM\n        run: npm install -g @lpm-registry/cli\n      - name: Decrypt secrets\n        run: lpm env pull --oidc --env=production --output=.env\n      - name: Build\n        run: npm run build";
    let mut lines = github.stdout.lines();
    for line in promised.lines() {
        assert!(
            lines.any(|printed| printed == line),
            "`{line}` is missing or out of order:\n{}",
            github.stdout
        );
    }
    for line in [
        "          LPM_REGISTRY_URL: https://lpm.example.com",
        &format!("          LPM_VAULT_ID: {OWNER}"),
        &format!("          LPM_VAULT_OWNER: {OWNER}"),
    ] {
        assert!(
            github.stdout.lines().any(|printed| printed == line),
            "`{line}` is missing:\n{}",
            github.stdout
        );
    }
    assert!(github.stderr.contains("lpm env oidc allow --repo=OWNER/REPO --env=production"));
    let gitlab = project().lpm("ci setup gitlab --env=staging").ok().stdout;
    assert!(
        gitlab.contains("  id_tokens:\n    LPM_OIDC_TOKEN:\n      aud: https://lpm.example.com\n"),
        "{gitlab}"
    );
    assert!(gitlab.contains("    - lpm env pull --oidc --env=staging --output=.env\n"));
}

#[test]
fn the_snippet_is_wired_for_the_project() {
    let machine = project();
    assert!(machine.lpm("ci setup github --env=prod").ok().stdout.contains("--env=production "));
    let other = machine.lpm("ci setup gitlab --vault=other").ok();
    assert!(
        other.stdout.contains("LPM_VAULT_ID: 'other'") && !other.stdout.contains("LPM_VAULT_OWNER"),
        "{}",
        other.stdout
    );
    assert!(other.stderr.contains("owner is not known"));
    let document = machine.lpm("ci setup gitlab --json").ok().json();
    assert_eq!(document["workflow"], json!(machine.lpm("ci setup gitlab").ok().stdout));
    let local = project().with("LPM_REGISTRY_URL", "http://127.0.0.1:8080");
    assert!(local.lpm("ci setup gitlab").ok().stderr.contains("this machine's own"));
}

#[test]
fn a_snippet_for_nothing_is_refused() {
    Machine::new().lpm("ci setup gitlab").refused(1, "there is no vault here");
    project().args(&["ci", "setup", "gitlab", "--env", "a; rm -rf /"]).refused(2, "is no environment's name");
    project()
        .args(&["ci", "setup", "gitlab", "--vault", "${{ secrets.X }}"])
        .refused(2, "cannot stand in a workflow");
    project().lpm("ci setup gitlab --owner=me").refused(2, "must be a uuid");
    project().lpm("ci setup gitlab --registry-url=http://lpm.example.com").refused(2, "plain http://");
}

// --- before the network ---------------------------------------------------------------------------

#[test]
fn plain_http_is_refused_before_anything_is_sent() {
    let machine = project().with("LPM_TOKEN", "hush").with("LPM_OIDC_TOKEN", "hush");
    machine.lpm("env set A=1").ok();
    for address in ["http://lpm.example.com", "http://10.0.0.1:80", "http://localhost.example.com"] {
        for command in
            ["env push", "env pull", "env pull --oidc", "env log", "env oidc list", "env oidc disable"]
        {
            machine
                .lpm(&format!("{command} --registry-url={address}"))
                .refused(2, "plain http://")
                .hides("hush");
        }
    }
}

#[test]
fn without_a_token_the_account_is_denied() {
    for machine in [project(), project().with("LPM_TOKEN", ""), project().with("LPM_TOKEN", " \n")] {
        for command in [
            "env push",
            "env pull",
            "env log",
            "env oidc list",
            "env oidc disable",
            "env oidc revoke p",
            "env oidc allow --repo=a/b --env=p",
        ] {
            let run = machine.lpm(command).refused(3, "you are not signed in at `");
            assert!(run.stderr.contains("hint: run `lpm login`, or set LPM_TOKEN"), "{}", run.stderr);
        }
    }
    assert_eq!(project().lpm("env log --json").json()["code"], json!("unauthorized"));
}

#[test]
fn a_pull_without_a_ci_token_says_what_to_add_to_the_workflow() {
    let pull = "env pull --oidc --env=production --output=.env";
    let run = project().with("GITHUB_ACTIONS", "true").lpm(pull).refused(2, "may not have an identity token");
    assert!(run.stderr.contains("id-token: write"), "{}", run.stderr);
    let run = project().with("GITLAB_CI", "true").lpm(pull).refused(2, "has no identity token");
    assert!(run.stderr.contains("LPM_OIDC_TOKEN: { aud: https://lpm.example.com }"), "{}", run.stderr);
    project().lpm(pull).refused(2, "LPM_OIDC_TOKEN is not set");
    project().with("LPM_OIDC_TOKEN", "").lpm(pull).refused(2, "LPM_OIDC_TOKEN is not set");
    assert!(!project().project().join(".env").exists());
}

#[test]
fn what_could_only_fail_afterwards_is_refused_before_the_pull() {
    let machine = project().with("LPM_OIDC_TOKEN", "x").with("LPM_TIMEOUT", "1");
    machine.lpm("env pull --oidc --format=github").refused(2, "GITHUB_ENV is not set");
    machine.lpm("env pull --oidc --force").refused(2, "`--force` is for");
    machine.lpm("env pull --oidc --owner=nobody").refused(2, "must be a uuid");
    let run = machine.lpm("env pull --oidc --json --output=-");
    assert_eq!((run.code, run.json()["success"].clone()), (Some(2), json!(false)));
}

#[test]
fn a_policy_that_the_server_would_refuse_never_leaves_the_machine() {
    let machine = Machine::new().with("LPM_TOKEN", "x").with("LPM_REGISTRY_URL", "http://127.0.0.1:9");
    for (flags, said) in [
        ("--repo=a/b --env=p --provider=bitbucket", "use `github` or `gitlab`"),
        ("--repo=a --env=p", "`subject`"),
        ("--provider=gitlab --repo=42 --env=p", "project:42"),
        ("--repo=a/b --env=p --branch=", "`allowedBranches`"),
        ("--repo=a/b --env=p --branch=main,", "`allowedBranches`"),
        ("--repo=a/b --env=p --branch=refs/heads/main", "short name"),
        ("--repo=a/b --env=", "is no environment's name"),
        ("--repo=a/b --env=p,", "is no environment's name"),
        ("--repo=a/b --env=p --event=workflow_run", "outsiders can start"),
        ("--repo=a/b --env=p --runner=mine", "must be `hosted` or `self-hosted`"),
        ("--repo=a/b --env=p --project-id=1", "`projectId`"),
        ("--repo=a/b --env=p --owner-id=1", "`ownerId`"),
        ("--repo=a/b --env=p --all-branches --tag=v1", "tags only"),
    ] {
        machine.lpm(&format!("env oidc allow {flags}")).refused(2, said);
    }
    assert!(!machine.project().join("lpm.json").exists(), "and makes no vault");
    machine.lpm("env oidc repin acme/web").refused(2, "must begin with `repo:` or `project:`");
}

#[test]
fn claims_that_are_none_are_refused_before_they_are_sent() {
    let machine = project().with("LPM_TOKEN", "x");
    for (text, said) in [
        ("", "is not valid JSON"),
        ("[]", "not an object of claims"),
        (r#"{"iss":"a","iss":"b"}"#, "has a member name twice"),
        (r#"{"sub":"\ud800"}"#, "is not valid JSON"),
    ] {
        machine.write("claims.json", text);
        machine.lpm("env oidc explain --claims=claims.json").refused(2, said);
    }
    machine
        .lpm("env oidc explain --claims=missing.json")
        .refused(1, "cannot read the file of `--claims`: No such file");
    machine.lpm("env oidc explain").refused(2, "no `--claims`");
}

#[test]
fn an_empty_vault_is_not_pushed() {
    project().with("LPM_TOKEN", "x").lpm("env push").refused(1, "nothing to push");
}

#[test]
fn nobody_at_home_is_unavailable() {
    // Port 9 of this machine: nothing listens there.
    let machine = project().with("LPM_TOKEN", "x").with("LPM_REGISTRY_URL", "http://127.0.0.1:9");
    machine.lpm("env set A=1").ok();
    for command in ["env push", "env pull", "env log", "env oidc list"] {
        machine.lpm(command).refused(4, "cannot reach the server");
    }
    let run = machine.lpm("env pull --json");
    assert_eq!((run.code, run.json()["code"].clone()), (Some(4), json!("unavailable")));
}
