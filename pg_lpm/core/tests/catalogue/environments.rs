//! P13 and P30: environments are names, compared whole.

use crate::support::claims::{github, gitlab};
use crate::support::decision::*;
use crate::support::requests::{read, with};
use serde_json::{Value, json};

/// What is not `production`, however it looks.
const LOOK_ALIKES: &[(&str, &str)] = &[
    ("a space behind", "production "),
    ("a space before", " production"),
    ("a no-break space", "production\u{A0}"),
    ("a line feed within", "prod\nuction"),
    ("a line feed behind", "production\n"),
    ("a tab", "production\t"),
    ("Cyrillic р", "\u{440}roduction"),
    ("full width", "ｐroduction"),
    ("a combining mark", "production\u{301}"),
    ("a zero-width space", "production\u{200B}"),
    ("percent encoding", "prod%75ction"),
    ("a longer name", "production-eu"),
    ("a name that ends so", "not-production"),
    ("a name that begins so", "prod"),
    ("a list", "production,staging"),
    ("a path", "production/eu"),
    ("injected claims", "production:repository_owner:acme"),
];

fn wants(name: &str) -> Value {
    one("ciEnvironment", name)
}

fn is(name: &str) -> Value {
    one("environment", name)
}

#[test]
fn p13_a_deployment_environment_is_the_one_named() {
    for (case, name) in LOOK_ALIKES {
        for (payload, policy) in [(github(), github_policy()), (gitlab(), gitlab_policy())] {
            let policy = changed(policy, wants("production"));
            let verdict = decided(&payload.with("environment", *name), policy, json!({}), json!({}));
            assert_eq!(word(&verdict), "ci_environment_not_allowed", "P13: {case}");
        }
    }
    run_table(
        github,
        github_policy,
        vec![
            ("P13: as named", is("production"), wants("production"), "granted"),
            ("P13: GitHub folds ASCII letters", is("PRODUCTION"), wants("Production"), "granted"),
            ("P13: and nothing else", is("\u{212A}elvin"), wants("kelvin"), "ci_environment_not_allowed"),
            ("P13: not the long s", is("\u{17F}taging"), wants("staging"), "ci_environment_not_allowed"),
            ("P13: escaped as in `sub`", is("prod%3A"), wants("prod:"), "ci_environment_not_allowed"),
            ("P13: a colon is a character", is("prod:"), wants("prod:"), "granted"),
            (
                "P13: anyone's review/1, no pattern",
                is("review/1"),
                wants("review/*"),
                "ci_environment_not_allowed",
            ),
            ("P13: the name with a star", is("review/*"), wants("review/*"), "granted"),
        ],
    );
    run_table(
        gitlab,
        gitlab_policy,
        vec![
            ("P13: GitLab's are exact", is("PRODUCTION"), wants("production"), "ci_environment_not_allowed"),
            ("P13: a review app", is("review/1"), wants("review/1"), "granted"),
            ("P13: another review app", is("review/2"), wants("review/1"), "ci_environment_not_allowed"),
            ("P13: no pattern", is("review/1"), wants("review/*"), "ci_environment_not_allowed"),
        ],
    );
}

/// GitHub makes an environment that it does not know, without any protection: the name alone proves little.
#[test]
fn p13_an_environment_never_replaces_the_rule_on_refs() {
    let created =
        || json!({ "environment": "production", "ref": "refs/heads/evil", "ref_protected": "false" });
    run_table(
        github,
        github_policy,
        vec![
            ("P13: from another branch", created(), wants("production"), "branch_not_allowed"),
            (
                "P13: from a tag",
                changed(created(), json!({ "ref": "refs/tags/main", "ref_type": "tag" })),
                wants("production"),
                "tag_not_allowed",
            ),
            (
                "P13: for a commit",
                changed(created(), one("ref", "")),
                changed(wants("production"), one("allowedBranches", json!([]))),
                "ref_not_allowed",
            ),
        ],
    );
    let failure = read(&with(&[("ciEnvironment", json!("production")), ("allowedBranches", Value::Null)]));
    let text = failure.expect_err("P13: without a rule on refs").text();
    assert_eq!(text, "the policy's `allowedBranches` is missing", "P13");
    // On GitLab the provider's protection of the environment is no substitute either.
    let protected =
        || json!({ "environment_protected": "true", "ref": "evil", "ref_path": "refs/heads/evil" });
    let unprotected_ref = changed(wants("production"), one("protectedRefOnly", true));
    run_table(
        gitlab,
        gitlab_policy,
        vec![
            ("P13: a protected environment", protected(), wants("production"), "branch_not_allowed"),
            (
                "P13: its ref is not protected",
                one("ref_protected", "false"),
                unprotected_ref,
                "ref_not_protected",
            ),
        ],
    );
}

#[test]
fn p13_the_vaults_environment_is_exact_and_its_names_are_plain() {
    let asked = |name: &str, allowed: Value| {
        let policy = changed(github_policy(), one("allowedEnvironments", allowed));
        word(&decided(&github(), policy, json!({}), one("environment", name)))
    };
    assert_eq!(asked("production", json!(["production"])), "granted");
    let upper = [("upper case", "PRODUCTION"), ("a capital", "Production"), ("empty", "")];
    for (case, name) in LOOK_ALIKES.iter().chain(&upper) {
        assert_eq!(asked(name, json!(["production"])), "environment_not_allowed", "P13: asked for {case}");
        if *name != "not-production"
            && *name != "production-eu"
            && *name != "prod"
            && !upper.contains(&(case, name))
        {
            let failure = read(&with(&[("allowedEnvironments", json!([name]))])).expect_err(case);
            assert!(
                failure.text().contains("is no environment's name"),
                "P13: {case} in a policy: {failure}"
            );
        }
    }
    for name in ["production ", " production", "production\n", "prod\nuction"] {
        let failure = read(&with(&[("ciEnvironment", json!(name))])).expect_err(name);
        assert!(
            failure.text().starts_with("the policy's `ciEnvironment` is refused"),
            "P13: {name:?}: {failure}"
        );
    }
}

/// Custom properties are no rules here, so there is nothing to split and no part of a text to look for.
#[test]
fn p30_no_rule_looks_for_a_part_of_a_text() {
    for field in ["properties", "repo_property_region", "repoProperties", "contains", "regions"] {
        let failure = read(&with(&[(field, json!(["us-east-1"]))])).expect_err(field);
        assert_eq!(failure.text(), format!("the policy's `{field}` is not known"), "P30");
    }
    let plain = github().claims();
    for value in ["us-east-1,eu-west-1", "eu-west-1", "", "true"] {
        let claims = github().with("repo_property_region", value).claims();
        assert_eq!(claims, plain, "P30: the property `{value}` changes nothing");
    }
    // Each text of a policy against a claim that contains it, and the other way round.
    for (case, claim, field, whole) in [
        ("deployment environment", "environment", "ciEnvironment", "production"),
        ("audience", "aud", "audience", "https://lpm.dev"),
    ] {
        for value in
            [format!("not-{whole}"), format!("{whole}-2"), format!("x,{whole}"), format!("{whole},x")]
        {
            let longer = decided(
                &github().with(claim, value.as_str()),
                changed(github_policy(), one(field, whole)),
                json!({}),
                json!({}),
            );
            let shorter = decided(
                &github().with(claim, whole),
                changed(github_policy(), one(field, value.as_str())),
                json!({}),
                json!({}),
            );
            assert!(
                longer.outcome.is_err() && shorter.outcome.is_err(),
                "P30: {case}, `{whole}` and `{value}`"
            );
        }
    }
    let branch = |name: &str, text: &str| {
        let policy = changed(github_policy(), one("allowedBranches", json!([text])));
        word(&decided(&github().with("ref", format!("refs/heads/{name}")), policy, json!({}), json!({})))
    };
    for (name, text) in [("not-main", "main"), ("main-2", "main"), ("main", "main-2"), ("a,main", "main")] {
        assert_eq!(branch(name, text), "branch_not_allowed", "P30: the branches `{name}` and `{text}`");
    }
}
