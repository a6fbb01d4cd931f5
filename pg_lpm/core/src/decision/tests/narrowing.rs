//! Environments and the optional rules (steps 7 and 8).

use super::*;
use crate::support::claims::{github, gitlab};

#[test]
fn a_reusable_workflow_is_file_and_ref() {
    let wants =
        |at: &str| one("reusableWorkflow", format!("octo-org/ci-shared/.github/workflows/release.yml@{at}"));
    let called =
        |at: &str| one("job_workflow_ref", format!("Octo-Org/ci-shared/.github/workflows/release.yml@{at}"));
    run_table(
        github,
        github_policy,
        vec![
            ("case of a repository", called("refs/tags/v3"), wants("refs/tags/v3"), "granted"),
            ("", called("refs/tags/v4"), wants("refs/tags/v3"), "reusable_workflow_not_allowed"),
            (
                "a branch of that name",
                called("refs/heads/v3"),
                wants("refs/tags/v3"),
                "reusable_workflow_not_allowed",
            ),
            (
                "",
                one("job_workflow_ref", "evil/ci-shared/.github/workflows/release.yml@refs/tags/v3"),
                wants("refs/tags/v3"),
                "reusable_workflow_not_allowed",
            ),
            (
                "none called",
                one("job_workflow_ref", "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main"),
                wants("refs/tags/v3"),
                "reusable_workflow_not_allowed",
            ),
        ],
    );
    run_table(
        gitlab,
        gitlab_policy,
        vec![("", json!({}), wants("refs/tags/v3"), "reusable_workflow_not_allowed")],
    );
}

#[test]
fn protection_runner_and_audience_are_exact() {
    run_table(
        github,
        github_policy,
        vec![
            ("", one("ref_protected", "false"), one("protectedRefOnly", true), "ref_not_protected"),
            ("", one("runner_environment", "self-hosted"), one("runner", "hosted"), "runner_not_allowed"),
            ("", one("runner_environment", "self-hosted"), one("runner", "self-hosted"), "granted"),
            ("", json!({}), one("runner", "self-hosted"), "runner_not_allowed"),
            ("", one("runner_environment", "gitlab-hosted"), one("runner", "hosted"), "runner_not_allowed"),
            ("", json!({}), one("audience", "https://lpm.dev"), "granted"),
            (
                "the published audience is off",
                json!({}),
                one("audience", "https://vault.example.com"),
                "audience_not_allowed",
            ),
            ("", one("aud", "https://lpm.dev/"), one("audience", "https://lpm.dev"), "audience_not_allowed"),
        ],
    );
    run_table(
        gitlab,
        gitlab_policy,
        vec![
            ("", one("ref_protected", "false"), one("protectedRefOnly", true), "ref_not_protected"),
            ("", one("runner_environment", "github-hosted"), one("runner", "hosted"), "runner_not_allowed"),
        ],
    );
}

#[test]
fn environments_are_exact_and_aliases_lead_to_the_canonical_name() {
    let config =
        || one("env_config", json!({ "prod": { "canonical": "production", "file": ".env.production" } }));
    let asked = |name: &str, allowed: Value, config: Value| {
        let policy = changed(github_policy(), one("allowedEnvironments", allowed));
        let verdict = decided(&github(), policy, config, one("environment", name));
        match verdict.outcome {
            Ok(grant) => grant.environments.join(" then "),
            Err(failure) => failure.code.as_str().to_owned(),
        }
    };
    let refused = "environment_not_allowed";
    for (name, allowed, config, expected) in [
        ("production", json!(["production"]), json!({}), "production"),
        ("production", json!([]), json!({}), "production"),
        ("staging", json!(["production"]), json!({}), refused),
        ("Production", json!(["production"]), json!({}), refused),
        ("production ", json!(["production"]), json!({}), refused),
        ("", json!([]), json!({}), refused),
        ("prod", json!(["production"]), json!({}), refused),
        ("prod", json!(["production"]), config(), "production"),
        ("prod", json!(["prod"]), config(), "prod"),
        ("prod", json!(["prod", "production"]), config(), "prod then production"),
        ("prod", json!([]), config(), "prod then production"),
        ("prod", json!(["staging"]), config(), refused),
        ("production", json!(["prod"]), config(), refused),
        ("default", json!(["production"]), json!({}), refused),
        ("__proto__", json!(["production"]), config(), refused),
    ] {
        assert_eq!(asked(name, allowed.clone(), config.clone()), expected, "{name} {allowed} {config}");
    }
    // A client wrote the configuration, so it may be anything.
    for odd in [
        json!(null),
        json!([]),
        json!("prod"),
        json!({ "prod": "production" }),
        json!({ "prod": { "canonical": 7 } }),
        json!({ "prod": { "canonical": "" } }),
        json!({ "prod": null }),
        // what `serde_json` would read as the JSON in the text, or not at all
        json!({ "$serde_json::private::RawValue": r#"{"prod":{"canonical":"production"}}"# }),
        json!({ "$serde_json::private::RawValue": "no JSON" }),
        json!({ "prod": { "$serde_json::private::RawValue": r#"{"canonical":"production"}"# } }),
    ] {
        assert_eq!(asked("prod", json!(["production"]), one("env_config", odd.clone())), refused, "{odd}");
    }
}

#[test]
fn which_of_two_names_is_permitted_does_not_depend_on_the_order_of_policies() {
    let claims = github().parse().unwrap();
    let config = json!({ "prod": { "canonical": "production" } });
    let of = |n: u128, allowed: &str| {
        changed(
            candidate(n, changed(github_policy(), one("allowedEnvironments", json!([allowed])))),
            one("env_config", config.clone()),
        )
    };
    let environments = |candidates: Vec<Value>| {
        let facts = facts(changed(facts_of(candidates), one("environment", "prod")));
        outcome(&claims, &facts).outcome.unwrap().environments
    };
    assert_eq!(environments(vec![of(1, "prod"), of(2, "production")]), ["prod", "production"]);
    assert_eq!(environments(vec![of(2, "production"), of(1, "prod")]), ["prod", "production"]);
    assert_eq!(environments(vec![of(1, "prod")]), ["prod"]);
    let denied = changed(of(2, "production"), one("plan", "free"));
    assert_eq!(environments(vec![of(1, "prod"), denied]), ["prod"], "a refused policy lends nothing");
    let elsewhere = changed(of(2, "production"), one("owner", "bob"));
    assert_eq!(environments(vec![of(1, "prod"), elsewhere]), ["prod"], "nor does one of another row");
}
