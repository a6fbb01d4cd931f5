#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

use super::*;
use crate::failure::Code;
use crate::support::requests::*;
use serde_json::{Value, json};

const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

#[test]
fn the_published_clients_request_is_read() {
    let new = read(&request()).unwrap();
    assert_eq!(new.vault_id, "vault-abc");
    assert_eq!(new.pins, Pins::default());
    insta::assert_snapshot!(new.policy.canonical(), @r#"{"provider":"github","issuer":"https://token.actions.githubusercontent.com","subject":"repo:acme/web","allowedBranches":["main","release/*"],"allowedEnvironments":["development","production"],"allowForks":false,"scope":"personal"}"#);
    let gitlab = changed(request(), &[("provider", json!("gitlab")), ("subject", json!("repo:group/proj"))]);
    assert_eq!(policy(&gitlab).subject_key(), "project:group/proj");
}

#[test]
fn every_field_has_its_place_in_the_canonical_encoding() {
    let body = with(&[
        ("issuer", json!("https://ghes.example.com/_services/token")),
        ("subject", json!("repo:Acme/Web")),
        ("allowForks", json!(true)),
        ("scope", json!("org")),
        ("org", json!("acme")),
        ("allowedTags", json!(["v*"])),
        ("allowedEvents", json!(["push", "merge_group", "pull_request_target"])),
        ("ciEnvironment", json!("Production")),
        ("workflow", json!("deploy.yml")),
        ("reusableWorkflow", json!("acme/ci/.github/workflows/release.yml@refs/tags/v3")),
        ("protectedRefOnly", json!(true)),
        ("runner", json!("self-hosted")),
        ("audience", json!("https://vault.example.com")),
        ("repositoryId", json!("456789")),
        ("ownerId", json!("123456")),
    ]);
    let new = read(&body).unwrap();
    insta::assert_snapshot!(new.policy.canonical(), @r#"{"provider":"github","issuer":"https://ghes.example.com/_services/token","subject":"repo:acme/web","allowedBranches":["main","release/*"],"allowedEnvironments":["development","production"],"allowForks":true,"scope":"org","org":"acme","allowedTags":["v*"],"allowedEvents":["merge_group","pull_request_target","push"],"ciEnvironment":"Production","workflow":".github/workflows/deploy.yml","reusableWorkflow":"acme/ci/.github/workflows/release.yml@refs/tags/v3","protectedRefOnly":true,"runner":"self-hosted","audience":"https://vault.example.com"}"#);
    assert_eq!(new.pins.id(), Some("456789"));
    assert_eq!(new.pins.owner_id.as_deref(), Some("123456"));
}

#[test]
fn the_canonical_encoding_reads_back_byte_for_byte() {
    for body in [request(), gitlab(), with(&[("allowedTags", json!(["v*"])), ("runner", json!("hosted"))])] {
        let text = policy(&body).canonical();
        assert_eq!(Policy::from_canonical(&text).unwrap().canonical(), text);
        assert_eq!(Policy::from_canonical(&text).unwrap(), policy(&body));
    }
}

#[test]
fn p24_order_case_and_repetition_make_no_other_policy() {
    let shuffled = with(&[
        ("subject", json!("repo:ACME/web")),
        ("allowedBranches", json!(["release/*", "main", "release/*"])),
        ("allowedEnvironments", json!(["production", "development", "production"])),
        ("scope", json!("personal")),
        ("allowedTags", Value::Null),
        ("protectedRefOnly", json!(false)),
    ]);
    assert_eq!(policy(&shuffled).canonical(), policy(&request()).canonical());
}

#[test]
fn another_encoding_of_a_policy_is_refused() {
    let text = policy(&request()).canonical();
    for other in [
        text.replace(r#","allowForks":false"#, ""),
        text.replace(r#","allowForks":false"#, r#", "allowForks":false"#),
        text.replace(r#"["main","release/*"]"#, r#"["release/*","main"]"#),
        text.replace("acme/web", "Acme/web"),
        text.replace(r#""scope":"personal""#, r#""scope":"personal","org":null"#),
        text.replace(r#""scope":"personal""#, r#""scope":"personal","allowForks":true"#),
        text.replace(r#""scope":"personal""#, r#""scope":"personal","deny":["x"]"#),
        text.replace("github\"", "bitbucket\""),
        text.replace("release/*", "release/["),
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
    ] {
        assert!(Policy::from_canonical(&other).is_err(), "{other}");
    }
}

#[test]
fn a_request_that_could_mean_something_else_is_refused() {
    let long = "x".repeat(65);
    // (why, change, field named, part of the text)
    let table: &[(&str, (&str, Value), &str)] = &[
        ("published --branch=", ("allowedBranches", json!([""])), "must not be empty"),
        ("every branch needs to be said", ("allowedBranches", Value::Null), "is missing"),
        ("", ("allowedBranches", json!("main")), "must be a list of strings"),
        ("", ("allowedBranches", json!([1])), "must be a list of strings"),
        ("", ("allowedBranches", json!(["refs/heads/main"])), "must be a short name, such as `main`"),
        ("", ("allowedTags", json!(["refs/tags/v1"])), "such as `v1`"),
        ("", ("allowedEvents", json!(["pull request"])), "is no event's name"),
        ("", ("allowedEvents", json!(["*"])), "is no event's name"),
        ("a typo", ("allowedEvents", json!(["pul_request"])), "no event of GitHub Actions known here"),
        ("published, as-is", ("allowedEnvironments", json!(["prod uction"])), "`prod uction`"),
        ("", ("allowedEnvironments", json!([""])), "is no environment's name"),
        ("", ("allowedEnvironments", json!([long])), "is no environment's name"),
        ("", ("allowedEnvironments", Value::Null), "is missing"),
        ("", ("allowForks", json!("false")), "must be true or false, not a string"),
        ("", ("protectedRefOnly", json!(1)), "must be true or false"),
        ("", ("subject", Value::Null), "is missing"),
        ("", ("subject", json!("")), "must neither be empty"),
        ("", ("subject", json!("project:20")), "does not name a GitHub repository"),
        ("", ("vaultId", Value::Null), "is missing"),
        ("", ("vaultId", json!("a\nb")), "control characters"),
        ("", ("vaultId", json!("x".repeat(257))), "longer than 256 bytes"),
        ("", ("provider", Value::Null), "is missing"),
        ("", ("issuer", json!("https://gitlab.com ")), "begin or end with a space"),
        ("", ("issuer", json!("")), "must neither be empty"),
        ("", ("scope", json!("global")), "must be `personal` or `org`"),
        ("", ("org", json!("acme")), "needs the scope `org`"),
        ("", ("ciEnvironment", json!("")), "must neither be empty"),
        ("", ("runner", json!("any")), "must be `hosted` or `self-hosted`"),
        ("", ("audience", json!("")), "must neither be empty"),
        ("", ("repositoryId", json!(456_789)), "must be a string, not a number"),
        ("", ("repositoryId", json!("0456789")), "must be a decimal id"),
        ("", ("projectId", json!("20")), "`gitlab` only"),
        ("", ("allowedbranches", json!([])), "is not known"),
    ];
    for (why, (key, value), text) in table {
        let failure = read(&with(&[(key, value.clone())])).expect_err(key);
        assert_eq!((failure.code, failure.code.status()), (Code::PolicyInvalid, 400), "{why} {key}={value}");
        assert!(failure.text().contains(&format!("`{key}`")), "{why}: {failure}");
        assert!(failure.text().contains(text), "{why}: {failure}");
    }
    let failure = read(&with(&[("scope", json!("org"))])).expect_err("no org");
    assert_eq!(failure.text(), "the policy's `org` is missing: the scope is `org`");
    for slug in ["a b", "acme/web", "acm\u{e9}", &long] {
        let failure = read(&with(&[("scope", json!("org")), ("org", json!(slug))])).expect_err(slug);
        assert!(failure.text().ends_with("is no org's name"), "{failure}");
    }
}

#[test]
fn a_text_is_read_up_to_its_longest_and_no_further() {
    for (field, most, reason) in [
        ("vaultId", 256, "is longer than 256 bytes"),
        ("issuer", 512, "is too long"),
        ("audience", 512, "is too long"),
        ("ciEnvironment", 512, "is too long"),
    ] {
        let of = |length: usize| read(&with(&[(field, json!("x".repeat(length)))]));
        assert!(of(most).is_ok(), "`{field}` of {most} bytes");
        let failure = of(most + 1).expect_err(field);
        assert!(failure.text().contains(reason), "`{field}` of one byte more: {failure}");
    }
}

#[test]
fn a_refused_value_is_shown_as_far_as_it_is_short() {
    for (length, shown) in [(64, "x".repeat(64)), (65, format!("{}…", "x".repeat(64)))] {
        let failure = read(&with(&[("runner", json!("x".repeat(length)))])).expect_err("no runner");
        let text = failure.text();
        assert!(text.contains(&format!("is refused: `{shown}` must be")), "{length}: {text}");
    }
}

#[test]
fn gitlab_has_rules_of_its_own() {
    for (key, value, text) in [
        ("subject", json!("repo:20"), "an id is written as a project"),
        ("subject", json!("project:name"), "does not name a GitLab project"),
        ("reusableWorkflow", json!("a/b/.github/workflows/r.yml@refs/tags/v3"), "`github` only"),
        ("repositoryId", json!("20"), "`github` only"),
        ("ownerId", json!("20"), "`github` only"),
        ("workflow", json!("/etc/passwd"), "path of the CI configuration"),
    ] {
        let failure = read(&changed(gitlab(), &[(key, value)])).expect_err(key);
        assert!(failure.text().contains(text), "{failure}");
    }
    let failure = read(&changed(gitlab(), &[("subject", json!("repo:20"))])).expect_err("digits");
    assert_eq!(failure.hint(), "write `project:20`, or `--project=20`");

    let by_id = changed(gitlab(), &[("subject", json!("project:20"))]);
    assert_eq!(read(&by_id).unwrap().pins.id(), Some("20"), "an id is its own pin");
    let other = changed(by_id, &[("projectId", json!("21"))]);
    assert!(read(&other).unwrap_err().text().contains("is not the subject's"));
    let sources = changed(gitlab(), &[("allowedEvents", json!(["merge_request_event", "chat"]))]);
    assert_eq!(policy(&sources).allowed_events.unwrap(), ["chat", "merge_request_event"]);
}

#[test]
fn providers_and_issuers_are_named_when_they_do_not_fit() {
    let failure = read(&with(&[("provider", json!("bitbucket"))])).unwrap_err();
    assert_eq!(failure.code, Code::ProviderUnsupported);
    assert!(failure.text().contains("`github` or `gitlab`"), "{failure}");
    assert!(failure.hint().contains("Bitbucket"), "{}", failure.hint());
    let failure = Policy::from_request(request().to_string().as_bytes(), |_| None).unwrap_err();
    assert!(failure.text().contains("has no default issuer here"), "{failure}");
}

#[test]
fn a_body_that_is_no_object_is_a_bad_request() {
    for body in [
        "",
        "[]",
        "null",
        "\"x\"",
        "{",
        r#"{"provider":"github","provider":"gitlab"}"#,
        "{\"a\":\"\\u0000\"}",
    ] {
        let failure = Policy::from_request(body.as_bytes(), |_| None).unwrap_err();
        assert_eq!(failure.code, Code::BadRequest, "{body}");
    }
}

#[test]
fn untrusted_events_need_forks_and_a_name() {
    let named = |event: &str, forks: bool| {
        read(&with(&[("allowedEvents", json!([event])), ("allowForks", json!(forks))])).is_ok()
    };
    for event in events::UNTRUSTED {
        assert!(!named(event, false), "{event}");
        assert!(named(event, true), "{event}");
    }
    for event in events::DEFAULT.iter().chain(&[events::MERGE_GROUP, events::PULL_REQUEST]) {
        assert!(named(event, false), "{event}");
    }
}

#[test]
fn a_policy_says_in_one_line_what_it_permits() {
    insta::assert_snapshot!(policy(&request()).describe(), @"repo:acme/web may pull development and production from the branches main and release/*; no forks");
    let broad = with(&[
        ("allowedBranches", json!([])),
        ("allowedEnvironments", json!([])),
        ("allowForks", json!(true)),
    ]);
    insta::assert_snapshot!(policy(&broad).describe(), @"repo:acme/web may pull every environment from every branch; forks too");
    let narrow = with(&[
        ("allowedBranches", json!([])),
        ("allowedTags", json!(["v*"])),
        ("allowedEnvironments", json!(["production"])),
        ("allowedEvents", json!(["push", "release"])),
        ("ciEnvironment", json!("prod")),
        ("workflow", json!("deploy.yml")),
        ("runner", json!("hosted")),
        ("protectedRefOnly", json!(true)),
    ]);
    insta::assert_snapshot!(policy(&narrow).describe(), @"repo:acme/web may pull production from the tags v* if protected, on push and release, in the deployment environment prod, by the workflow .github/workflows/deploy.yml, on the provider's runners; no forks");
}

#[test]
fn a_line_names_branches_and_tags_where_both_may_pull() {
    let both = with(&[("allowedBranches", json!(["main"])), ("allowedTags", json!(["v*", "w*"]))]);
    insta::assert_snapshot!(policy(&both).describe(), @"repo:acme/web may pull development and production from the branch main and the tags v* and w*; no forks");
}

#[test]
fn a_line_shows_what_would_reorder_it() {
    let hidden = with(&[("allowedBranches", json!(["ma\u{202E}in"]))]);
    insta::assert_snapshot!(policy(&hidden).describe(), @r"repo:acme/web may pull development and production from the branch ma\u{202e}in; no forks");
}

#[test]
fn what_is_broad_is_warned_of() {
    let count = |changes: &[(&str, Value)]| policy(&with(changes)).warnings().len();
    let main = ("allowedBranches", json!(["main"]));
    let contains = |changes: &[(&str, Value)], text: &str| {
        let warnings = policy(&with(changes)).warnings();
        assert!(warnings.iter().any(|warning| warning.contains(text)), "{text}: {warnings:?}");
    };
    assert_eq!(count(std::slice::from_ref(&main)), 0);
    assert_eq!(count(&[("protectedRefOnly", json!(true))]), 0, "a protected wildcard");
    contains(&[], "a wildcard without `protectedRefOnly`");
    contains(&[main.clone(), ("allowedTags", json!(["v*"]))], "a wildcard without `protectedRefOnly`");
    contains(&[("allowedBranches", json!([]))], "every branch");
    contains(&[("allowedBranches", json!(["**"]))], "every branch");
    contains(&[main.clone(), ("allowedEnvironments", json!([]))], "all environments");
    contains(&[main.clone(), ("allowForks", json!(true))], "forks are allowed");
    contains(&[main.clone(), ("allowedEvents", json!(["pull_request"]))], "cannot tell");
    let at = |at: &str| json!(format!("a/b/.github/workflows/r.yml@{at}"));
    contains(&[main.clone(), ("reusableWorkflow", at("refs/heads/main"))], "can move");
    assert_eq!(count(&[main, ("reusableWorkflow", at(SHA))]), 0, "P20: a commit does not move");
    let fork = policy(&changed(gitlab(), &[("allowForks", json!(true))])).warnings();
    assert!(fork.iter().any(|warning| warning.contains("only a policy for every branch")), "{fork:?}");
}

#[test]
fn nobody_is_warned_of_what_does_not_concern_them() {
    let warnings = |body: &Value| policy(body).warnings();
    let forks = ("allowForks", json!(true));
    let main = ("allowedBranches", json!(["main"]));
    let github = warnings(&with(&[main.clone(), forks.clone()]));
    assert!(
        github.len() == 1 && github[0].starts_with("forks are allowed: pull requests"),
        "GitHub's forks come to a branch as well: {github:?}"
    );
    let broad = warnings(&changed(gitlab(), &[("allowedBranches", json!([])), forks]));
    assert!(
        !broad.iter().any(|warning| warning.contains("only a policy for every branch")),
        "this is one for every branch: {broad:?}"
    );
    let push = warnings(&with(&[main, ("allowedEvents", json!(["push", "release"]))]));
    assert_eq!(push, [""; 0], "these tell whose code runs");
}

#[test]
fn names_in_requests_and_rows_are_the_documented_ones() {
    assert_eq!([Scope::Personal, Scope::Org].map(Scope::as_str), ["personal", "org"]);
    assert_eq!([Runner::Hosted, Runner::SelfHosted].map(Runner::as_str), ["hosted", "self-hosted"]);
}

#[test]
fn a_list_has_at_most_a_hundred_items() {
    let branches = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("release/{n}")).collect();
        read(&with(&[("allowedBranches", json!(names))]))
    };
    assert!(branches(100).is_ok());
    assert!(branches(101).expect_err("one too many").text().contains("has more than 100 items"));
}
