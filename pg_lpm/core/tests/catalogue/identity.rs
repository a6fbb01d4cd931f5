//! P11, P11b, P12 and P14 to P16: names are looked up, ids decide, and `sub` is never taken apart.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::decision::*;
use crate::support::requests::{self, read, with};
use lpm_core::claims::{ClaimsError, Provider};
use lpm_core::failure::Code;
use lpm_core::policy::Subject;
use serde_json::{Value, json};

fn pin(id: &str, owner_id: Option<&str>) -> Value {
    one("pin", json!({ "id": id, "owner_id": owner_id }))
}

/// The ids of the fixture.
fn pinned() -> Value {
    pin("456789", Some("123456"))
}

fn answer(payload: &Payload, policy: Value, pin: Value) -> &'static str {
    word(&decided(payload, policy, pin, json!({})))
}

/// A policy for this subject is refused, in a request and wherever else one is read.
fn no_subject(row: &str, provider: Provider, subject: &str) {
    Subject::parse(provider, subject).expect_err(subject);
    let body = match provider {
        Provider::GitHub => with(&[("subject", json!(subject))]),
        Provider::GitLab => requests::changed(requests::gitlab(), &[("subject", json!(subject))]),
    };
    let failure = read(&body).expect_err(subject);
    assert_eq!(failure.code, Code::PolicyInvalid, "{row}: `{subject}`");
    assert!(failure.text().starts_with("the policy's `subject` "), "{row}: `{subject}`: {failure}");
}

#[test]
fn p11_no_wildcard_spans_owners_repositories_or_ids() {
    for subject in [
        "repo:acme@*/app@*:*",
        "repo:acme@*/app@*",
        "repo:acme/*",
        "repo:acme/**",
        "repo:*/app",
        "repo:*",
        "repo:acme/app*",
        "repo:acme/?pp",
        "*",
    ] {
        no_subject("P11", Provider::GitHub, subject);
    }
    for subject in
        ["project:*", "project:2*", "project:my-group/*", "project:**/my-project", "project:my-group/**"]
    {
        no_subject("P11", Provider::GitLab, subject);
    }
    for (field, value) in [("repositoryId", "*"), ("repositoryId", "4567**"), ("ownerId", "*")] {
        let body = with(&[("repositoryId", json!("456789")), (field, json!(value))]);
        let failure = read(&body).expect_err(value);
        assert!(failure.text().contains("must be a decimal id"), "P11: {field} {value}: {failure}");
    }
    // The attack: a customised `sub` in which the pattern's text stands further right.
    let attacker = github()
        .with("sub", "repo:acme@1/other@2:ref:refs/heads/x/app@9:job_workflow_ref:acme/app/.github/workflows/x.yml@main")
        .with("repository", "acme/other")
        .with("repository_owner", "acme")
        .with("repository_id", "2")
        .with("repository_owner_id", "1");
    let policy = changed(github_policy(), one("subject", "repo:acme/app"));
    for (case, pin) in [("never pinned", json!({})), ("pinned", pin("9", Some("1")))] {
        assert_eq!(answer(&attacker, policy.clone(), pin), "no_policy", "P11: {case}");
    }
}

#[test]
fn p11b_a_name_that_looks_like_name_and_id_is_a_name() {
    // The preview of April 2026 joined name and id with `-`, and `-` is legal in names.
    let squatter = github()
        .with("sub", "repo:octo-org-123456/octo-repo-456789:ref:refs/heads/main")
        .with("repository", "octo-org-123456/octo-repo-456789")
        .with("repository_owner", "octo-org-123456")
        .with("repository_id", "990001")
        .with("repository_owner_id", "990002");
    let named_like_it = || changed(github_policy(), one("subject", "repo:octo-org-123456/octo-repo-456789"));
    for (case, policy, pin, expected) in [
        ("the victim's policy, pinned", github_policy(), pinned(), "no_policy"),
        ("the victim's policy, never pinned", github_policy(), json!({}), "no_policy"),
        (
            "a policy in the squatter's spelling, pinned to the victim",
            named_like_it(),
            pinned(),
            "identity_changed",
        ),
    ] {
        assert_eq!(answer(&squatter, policy, pin), expected, "P11b: {case}");
    }
    assert_eq!(
        answer(&github(), github_policy(), pinned()),
        "granted",
        "P11b: the victim's own immutable `sub`"
    );
    for subject in [
        "repo:octo-org@123456/octo-repo@456789",
        "repo:octo-org@123456/octo-repo@456789:ref:refs/heads/main",
        "repo:octo-org@123456/octo-repo",
        "repo:octo-org/octo-repo@456789",
    ] {
        no_subject("P11b", Provider::GitHub, subject);
    }
}

/// The catalogue refuses a policy without ids; here the first grant records them (design, section 5).
#[test]
fn p12_the_sub_decides_nothing() {
    for sub in [
        "repo:octo-org/octo-repo:ref:refs/heads/main",
        "repository_owner:octo-org:repository_visibility:private",
        "job_workflow_ref:o/r/.github/workflows/x.yml@refs/heads/main",
        "repository_id:456789",
        "repo:evil/evil:environment:x:repository_owner:acme",
        "repo:evil/evil:environment:x%3Arepository_owner%3Aacme",
        "repo:evil/evil:pull_request",
        "",
    ] {
        let with_sub = |payload: Payload| payload.with("sub", sub);
        assert_eq!(answer(&with_sub(github()), github_policy(), pinned()), "granted", "P12: `{sub}`");
        let evil = with_sub(github()).with("ref", "refs/heads/evil");
        assert_eq!(
            answer(&evil, github_policy(), pinned()),
            "branch_not_allowed",
            "P12: `{sub}`, another branch"
        );
    }
    let stranger = || {
        github()
            .with("repository", "evil/evil")
            .with("repository_owner", "evil")
            .with("repository_id", "1")
            .with("repository_owner_id", "2")
    };
    for sub in [
        "repo:octo-org/octo-repo:ref:refs/heads/main",
        "repo:octo-org@123456/octo-repo@456789:ref:refs/heads/main",
        "repo:evil/evil:environment:x:repo:octo-org/octo-repo",
    ] {
        let claims = stranger().with("sub", sub);
        assert_eq!(answer(&claims, github_policy(), pinned()), "no_policy", "P12: a stranger with `{sub}`");
    }
    // GHES up to 3.18 does not escape: the environment's name carries what looks like another claim.
    let injected = github()
        .with("environment", "x:repository_owner:acme")
        .with("sub", "repo:octo-org/octo-repo:environment:x:repository_owner:acme");
    let wants = changed(github_policy(), one("ciEnvironment", "x"));
    assert_eq!(
        answer(&injected, wants, pinned()),
        "ci_environment_not_allowed",
        "P12: an injected environment"
    );
    for subject in [
        "repo:acme/web:ref:refs/heads/main",
        "repo:acme/web:environment:production",
        "repo:acme/web:pull_request",
        "repository_owner:acme",
        "repository_id:74",
        "job_workflow_ref:o/r/.github/workflows/x.yml@refs/heads/main",
    ] {
        no_subject("P12", Provider::GitHub, subject);
    }
    no_subject("P12", Provider::GitLab, "project_path:my-group/my-project:ref_type:branch:ref:main");
    let grant = decided(&github(), github_policy(), json!({}), json!({})).outcome.unwrap();
    let recorded = grant.pin.map(|pin| (pin.id, pin.owner_id));
    assert_eq!(
        recorded,
        Some(("456789".to_owned(), Some("123456".to_owned()))),
        "P12: the first grant records ids"
    );
}

#[test]
fn p14_names_are_ascii_and_only_ascii_letters_fold() {
    // U+212A is the Kelvin sign, which lower-cases to `k`.
    let foreign = [
        ("Kelvin sign", "octo-org/\u{212A}it"),
        ("Kelvin sign in the owner", "\u{212A}it/app"),
        ("dotted I", "octo-org/\u{130}t"),
        ("dotless i", "octo-org/\u{131}t"),
        ("long s", "octo-org/\u{17F}ite"),
        ("sharp s", "octo-org/ma\u{DF}"),
        ("full width", "ｏcto-org/octo-repo"),
        ("Cyrillic о", "\u{43E}cto-org/octo-repo"),
        ("a combining mark", "octo-org/re\u{301}po"),
        ("a zero-width space", "octo-org/octo\u{200B}-repo"),
        ("a space", "octo-org/octo repo"),
        ("a line feed", "octo-org/octo-repo\n"),
        ("percent encoding", "octo-org%2Focto-repo"),
        ("a colon", "octo-org/octo-repo:x"),
        ("three parts", "octo-org/octo-repo/x"),
        ("one part", "octo-repo"),
        ("an empty part", "octo-org/"),
    ];
    for (case, name) in foreign {
        let error = github().with("repository", name).parse();
        let expected = ClaimsError::Type { claim: "repository", expected: "`owner/name`" };
        assert_eq!(error, Err(expected), "P14: {case} in a token");
        no_subject("P14", Provider::GitHub, &format!("repo:{name}"));
        if name.matches('/').count() == 1 && !name.ends_with('/') {
            let error = gitlab().with("project_path", name).parse();
            let expected = ClaimsError::Type { claim: "project_path", expected: "`group/project`" };
            assert_eq!(error, Err(expected), "P14: {case} in a GitLab token");
            no_subject("P14", Provider::GitLab, &format!("project:{name}"));
        }
    }
    let owner = github().with("repository_owner", "\u{212A}it").parse();
    let expected = ClaimsError::Type { claim: "repository_owner", expected: "a name" };
    assert_eq!(owner, Err(expected), "P14: Kelvin sign as owner");
    for (case, repository, subject, expected) in [
        ("as written", "octo-org/octo-repo", "repo:octo-org/octo-repo", "granted"),
        ("upper case in the token", "OCTO-ORG/octo-repo", "repo:octo-org/octo-repo", "granted"),
        ("upper case in the policy", "octo-org/octo-repo", "repo:OCTO-ORG/Octo-Repo", "granted"),
        ("another name", "octo-org/octo-repo2", "repo:octo-org/octo-repo", "no_policy"),
    ] {
        let policy = changed(github_policy(), one("subject", subject));
        assert_eq!(
            answer(&github().with("repository", repository), policy, json!({})),
            expected,
            "P14: {case}"
        );
    }
    for subject in ["project:My-Group/my-project", "project:my-group/MY-PROJECT"] {
        let policy = changed(gitlab_policy(), one("subject", subject));
        assert_eq!(
            answer(&gitlab(), policy, json!({})),
            "no_policy",
            "P14: GitLab paths are exact, {subject}"
        );
    }
    // Case is no rename, and where names mislead the ids still decide.
    let upper =
        decided(&github().with("repository", "Octo-Org/OCTO-repo"), github_policy(), pinned(), json!({}));
    assert!(!upper.outcome.unwrap().renamed, "P14: case is no rename");
    let other = github().with("repository", "OCTO-ORG/octo-repo").with("repository_id", "7");
    assert_eq!(answer(&other, github_policy(), pinned()), "identity_changed", "P14: another id");
}

#[test]
fn p15_whoever_takes_a_name_does_not_take_what_it_was_granted() {
    let taken =
        |id: &str, owner_id: &str| github().with("repository_id", id).with("repository_owner_id", owner_id);
    let renamed = |name: &str| github().with("repository", name);
    let moved = || {
        github()
            .with("repository", "evil/octo-repo")
            .with("repository_owner", "evil")
            .with("repository_owner_id", "4711")
    };
    for (case, payload, pin, expected) in [
        ("unchanged", github(), pinned(), "granted"),
        ("deleted and re-created under the same owner", taken("999", "123456"), pinned(), "identity_changed"),
        ("owner renamed, name taken by another", taken("999", "4711"), pinned(), "identity_changed"),
        ("a fork renamed to the original", taken("991", "4711"), pinned(), "identity_changed"),
        (
            "the owner's id alone is known again",
            taken("999", "123456"),
            pin("456789", None),
            "identity_changed",
        ),
        ("transferred to another owner, same name", taken("456789", "4711"), pinned(), "owner_changed"),
        ("transferred and renamed", moved(), pinned(), "owner_changed"),
        ("renamed by its owner", renamed("octo-org/new-name"), pinned(), "granted"),
        (
            "renamed, and the id is another's",
            renamed("octo-org/new-name").with("repository_id", "999"),
            pinned(),
            "no_policy",
        ),
        ("renamed before anything was pinned", renamed("octo-org/new-name"), json!({}), "no_policy"),
    ] {
        assert_eq!(answer(&payload, github_policy(), pin), expected, "P15: {case}");
    }
    // A pin of the owner alone would let the first of these in.
    let failure = read(&with(&[("ownerId", json!("123456"))])).expect_err("P15: owner alone");
    assert_eq!(failure.text(), "the policy's `ownerId` pins nothing without `repositoryId`", "P15");
    // Nobody is there first years later: what was never pinned lapses.
    let late = decided(&github(), github_policy(), one("waiting_since", NOW - 30 * DAY - 1), json!({}));
    assert_eq!(word(&late), "policy_lapsed", "P15: a name that was abandoned before the first grant");
}

/// The catalogue would have first ids approved; here the first grant records them, once (the race is the
/// database's), and a project can be named by its id.
#[test]
fn p16_on_gitlab_the_projects_id_decides() {
    let project = |id: &str, path: &str| {
        gitlab()
            .with("project_id", id)
            .with("job_project_id", id)
            .with("project_path", path)
            .with("job_project_path", path)
    };
    let by_id = || changed(gitlab_policy(), one("subject", "project:20"));
    for (case, payload, policy, pin, expected) in [
        ("unchanged", gitlab(), gitlab_policy(), pin("20", None), "granted"),
        (
            "path taken by another project",
            project("30", "my-group/my-project"),
            gitlab_policy(),
            pin("20", None),
            "identity_changed",
        ),
        ("renamed", project("20", "my-group/new-name"), gitlab_policy(), pin("20", None), "granted"),
        (
            "transferred to another group",
            project("20", "other/my-project"),
            gitlab_policy(),
            pin("20", None),
            "granted",
        ),
        (
            "renamed before anything was pinned",
            project("20", "my-group/new"),
            gitlab_policy(),
            json!({}),
            "no_policy",
        ),
        ("by id, path taken", project("30", "my-group/my-project"), by_id(), json!({}), "no_policy"),
        ("by id, renamed", project("20", "x/y"), by_id(), json!({}), "granted"),
        ("by id, and a pin that contradicts it", gitlab(), by_id(), pin("21", None), "identity_changed"),
        (
            "the namespace is another",
            gitlab().with("namespace_id", "73"),
            gitlab_policy(),
            pin("20", None),
            "granted",
        ),
    ] {
        assert_eq!(answer(&payload, policy, pin), expected, "P16: {case}");
    }
    let recorded = |pin: Value| {
        decided(&gitlab(), gitlab_policy(), pin, json!({})).outcome.unwrap().pin.map(|pin| pin.id)
    };
    assert_eq!(recorded(json!({})), Some("20".to_owned()), "P16: the first grant records the id");
    assert_eq!(recorded(pin("20", None)), None, "P16: and no later one");
    let waited = |policy: Value| {
        word(&decided(&gitlab(), policy, one("waiting_since", NOW - 30 * DAY - 1), json!({})))
    };
    assert_eq!(
        waited(gitlab_policy()),
        "policy_lapsed",
        "P16: a path that nobody used could be another's by now"
    );
    assert_eq!(waited(by_id()), "granted", "P16: an id is never another's");
    let denied = changed(gitlab_policy(), one("allowedBranches", json!(["x"])));
    assert!(
        decided(&gitlab(), denied, json!({}), json!({})).outcome.is_err(),
        "P16: a refusal records nothing"
    );
    let body = requests::changed(
        requests::gitlab(),
        &[("subject", json!("project:20")), ("projectId", json!("21"))],
    );
    let failure = read(&body).expect_err("P16: two ids");
    assert_eq!(failure.text(), "the policy's `projectId` is not the subject's, `20`", "P16");
}
