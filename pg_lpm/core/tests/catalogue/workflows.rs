//! P19 to P22: whose file runs, and at which ref.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::decision::*;
use crate::support::requests::{self, policy, read, with};
use serde_json::{Value, json};

const SHARED: &str = "octo-org/ci-shared/.github/workflows/";
const CALLED: &str = "octo-org/ci-shared/.github/workflows/release.yml";
/// What really ran, in the fixture.
const RAN: &str = "99aabbccddeeff00112233445566778899aabbcc";

fn reusable(at: &str) -> Value {
    one("reusableWorkflow", format!("{CALLED}@{at}"))
}

fn called(claim: &str) -> Value {
    one("job_workflow_ref", claim)
}

fn file(name: &str) -> Value {
    one("workflow", format!(".github/workflows/{name}"))
}

#[test]
fn p19_a_reusable_workflow_is_nothing_without_its_caller() {
    // Anyone can call a public one and has the claim then.
    let stranger = || {
        json!({
            "repository": "evil/app", "repository_owner": "evil", "repository_id": "991", "repository_owner_id": "4711",
            "workflow_ref": "evil/app/.github/workflows/x.yml@refs/heads/main"
        })
    };
    let everything =
        || changed(reusable("refs/tags/v3"), json!({ "allowedBranches": [], "allowForks": true }));
    run_table(
        github,
        github_policy,
        vec![
            ("P19: the caller that the policy names", json!({}), reusable("refs/tags/v3"), "granted"),
            ("P19: a stranger", stranger(), reusable("refs/tags/v3"), "no_policy"),
            ("P19: a stranger, the broadest policy", stranger(), everything(), "no_policy"),
            (
                "P19: a stranger, by its commit",
                changed(stranger(), called(&format!("{CALLED}@{RAN}"))),
                reusable(RAN),
                "no_policy",
            ),
        ],
    );
    let with_our_name = changed(stranger(), one("repository", "octo-org/octo-repo"));
    let pinned = one("pin", json!({ "id": "456789", "owner_id": "123456" }));
    let policy = changed(github_policy(), reusable("refs/tags/v3"));
    let verdict = decided(&claims_with(github(), &with_our_name), policy, pinned, json!({}));
    assert_eq!(word(&verdict), "identity_changed", "P19: a stranger under our name");

    let named = json!(format!("{CALLED}@refs/tags/v3"));
    for (case, subject) in
        [("no subject", Value::Null), ("an empty one", json!("")), ("its own file", named.clone())]
    {
        let failure =
            read(&with(&[("reusableWorkflow", named.clone()), ("subject", subject)])).expect_err(case);
        assert!(failure.text().starts_with("the policy's `subject` "), "P19: {case}: {failure}");
    }
    let on_gitlab = requests::changed(requests::gitlab(), &[("reusableWorkflow", named)]);
    let failure = read(&on_gitlab).expect_err("P19: GitLab has none");
    assert_eq!(
        failure.text(),
        "the policy's `reusableWorkflow` exists for the provider `github` only",
        "P19"
    );
}

#[test]
fn p20_a_ref_that_can_move_is_warned_of_and_a_commit_is_what_ran() {
    let ran = |sha: Value| changed(called(&format!("{CALLED}@{RAN}")), one("job_workflow_sha", sha));
    let refused = "reusable_workflow_not_allowed";
    run_table(
        github,
        github_policy,
        vec![
            ("P20: a commit, and it ran", ran(json!(RAN)), reusable(RAN), "granted"),
            ("P20: a commit, and something else ran", ran(json!(SHA)), reusable(RAN), refused),
            ("P20: a commit in upper case ran", ran(json!(RAN.to_uppercase())), reusable(RAN), refused),
            ("P20: a commit, and nobody says what ran", ran(Value::Null), reusable(RAN), refused),
            ("P20: a commit, and an empty one ran", ran(json!("")), reusable(RAN), refused),
            ("P20: pinned to a commit, called by a tag", json!({}), reusable(RAN), refused),
            (
                "P20: a tag that moved on",
                called(&format!("{CALLED}@refs/tags/v4")),
                reusable("refs/tags/v3"),
                refused,
            ),
            (
                "P20: a branch of the tag's name",
                called(&format!("{CALLED}@refs/heads/v3")),
                reusable("refs/tags/v3"),
                refused,
            ),
            ("P20: the short name", called(&format!("{CALLED}@v3")), reusable("refs/tags/v3"), refused),
        ],
    );
    for (case, at, warned) in [
        ("a branch", "refs/heads/main", true),
        ("a tag", "refs/tags/v3", true),
        ("a branch that looks like a commit", &format!("refs/heads/{RAN}"), true),
        ("a commit", RAN, false),
    ] {
        let body = with(&[
            ("allowedBranches", json!(["main"])),
            ("reusableWorkflow", json!(format!("{CALLED}@{at}"))),
        ]);
        let warnings = policy(&body).warnings();
        assert_eq!(
            warnings.iter().any(|text| text.contains("which its owner can move")),
            warned,
            "P20: {case}"
        );
    }
    for (case, at) in [
        ("a short tag", "v3"),
        ("a short branch", "main"),
        ("a short commit", "99aabbc"),
        ("a commit in upper case", "99AABBCCDDEEFF00112233445566778899AABBCC"),
        ("a pull request", "refs/pull/1/merge"),
        ("no name", "refs/heads/"),
        ("nothing", ""),
    ] {
        let failure = read(&with(&[("reusableWorkflow", json!(format!("{CALLED}@{at}")))])).expect_err(case);
        assert!(failure.text().contains("must name its ref in full"), "P20: {case}: {failure}");
    }
}

#[test]
fn p21_a_workflow_claim_is_split_at_the_ref_that_is_known() {
    const HOME: &str = "octo-org/octo-repo/.github/workflows/";
    let on = |branch: &str, claim: &str| {
        let git_ref = format!("refs/heads/{branch}");
        json!({ "ref": git_ref, "workflow_ref": format!("{HOME}{claim}@{git_ref}") })
    };
    let says = |claim: &str| one("workflow_ref", format!("{HOME}{claim}"));
    let rule = |name: &str| changed(file(name), one("allowedBranches", json!(["**"])));
    let refused = "workflow_not_allowed";
    // Names that a search for `@`, `.yml` or `/` would cut somewhere else; each is its own file only.
    let names = [
        "deploy.yml",
        "deploy.yaml",
        "has-dash.yml",
        "has--dashes-.yml",
        "has.period.yml",
        "has..periods..yml",
        "has_underscore.yml",
        "deploy.yml.yml",
        "deploy.yml.deploy.yml",
        "Deploy.yml",
    ];
    let branches =
        ["main", "x@y", "misleading@branch.yml", "bad@branch@two.yml", "x/.github/workflows/deploy.yml@y"];
    for name in names {
        for branch in branches {
            let claims = claims_with(github(), &on(branch, name));
            for other in names {
                let verdict = decided(&claims, changed(github_policy(), rule(other)), json!({}), json!({}));
                let expected = if name == other { "granted" } else { refused };
                assert_eq!(word(&verdict), expected, "P21: {name} on {branch}, the policy's {other}");
            }
        }
    }
    for name in [
        "deploy.yml@evil.yml",
        "nested@deploy.yml",
        "extra@nested.yml@deploy.yml",
        "deploy.yml@refs/heads/main",
        "",
        ".yml",
        "deploy",
        "sub/deploy.yml",
        "../workflows/deploy.yml",
        "xdeploy.yml",
        "deploy.yml ",
    ] {
        for branch in branches {
            run_table(
                github,
                github_policy,
                vec![("P21: another file", on(branch, name), rule("deploy.yml"), refused)],
            );
        }
    }
    let evil = "evil.yml@refs/heads/x/.github/workflows/deploy.yml@y";
    run_table(
        github,
        github_policy,
        vec![
            ("P21: by the commit", says(&format!("deploy.yml@{SHA}")), rule("deploy.yml"), "granted"),
            ("P21: by another commit", says(&format!("deploy.yml@{RAN}")), rule("deploy.yml"), refused),
            ("P21: at another ref", says("deploy.yml@refs/heads/other"), rule("deploy.yml"), refused),
            ("P21: at a ref that ends so", says("deploy.yml@x/refs/heads/main"), rule("deploy.yml"), refused),
            ("P21: without a ref", says("deploy.yml"), rule("deploy.yml"), refused),
            ("P21: with an empty ref", says("deploy.yml@"), rule("deploy.yml"), refused),
            (
                "P21: the branch holds a file, ref says so",
                changed(says(evil), one("ref", "refs/heads/x/.github/workflows/deploy.yml@y")),
                rule("deploy.yml"),
                refused,
            ),
            (
                "P21: the branch holds a file, ref says main",
                says("evil.yml@refs/heads/x/.github/workflows/deploy.yml@refs/heads/main"),
                rule("deploy.yml"),
                refused,
            ),
            (
                "P21: no ref is known",
                json!({ "sha": null, "ref": "", "workflow_ref": format!("{HOME}deploy.yml@") }),
                file("deploy.yml"),
                "ref_not_allowed",
            ),
        ],
    );
    let refused = "reusable_workflow_not_allowed";
    run_table(
        github,
        github_policy,
        vec![
            ("P21: reusable, as called", json!({}), reusable("refs/tags/v3"), "granted"),
            (
                "P21: reusable, a file with @",
                called(&format!("{CALLED}@evil.yml@refs/tags/v3")),
                reusable("refs/tags/v3"),
                refused,
            ),
            (
                "P21: reusable, a tag with a file",
                called(&format!("{SHARED}evil.yml@refs/tags/x/.github/workflows/release.yml@refs/tags/v3")),
                reusable("refs/tags/v3"),
                refused,
            ),
            (
                "P21: reusable, of another repository",
                called("evil/ci-shared/.github/workflows/release.yml@refs/tags/v3"),
                reusable("refs/tags/v3"),
                refused,
            ),
            (
                "P21: reusable, a longer path",
                called("x/octo-org/ci-shared/.github/workflows/release.yml@refs/tags/v3"),
                reusable("refs/tags/v3"),
                refused,
            ),
        ],
    );
    for text in ["deploy.yml@evil.yml", "deploy.yml@refs/heads/main", "@deploy.yml"] {
        let failure = read(&with(&[("workflow", json!(text))])).expect_err(text);
        assert!(failure.text().contains("must be a file only"), "P21: `{text}`: {failure}");
    }
    for text in ["", "deploy", ".yml", "sub/deploy.yml", "../deploy.yml", "deploy\n.yml", "deploy.yml "] {
        read(&with(&[("workflow", json!(text))])).expect_err(text);
    }
}

#[test]
fn p21_on_gitlab_host_project_file_and_ref_are_all_known() {
    let says = |claim: &str| one("ci_config_ref_uri", claim);
    let rule = || one("workflow", ".gitlab-ci.yml");
    let refused = "workflow_not_allowed";
    let home = "gitlab.com/my-group/my-project";
    let at = |path: &str| says(&format!("{home}{path}"));
    run_table(
        gitlab,
        gitlab_policy,
        vec![
            ("P21: as it is", json!({}), rule(), "granted"),
            ("P21: null", json!({ "ci_config_ref_uri": null }), rule(), refused),
            ("P21: empty", says(""), rule(), refused),
            ("P21: // twice", at("//a//.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            ("P21: /// once", at("///.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            ("P21: one slash", at("/.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            ("P21: a file that ends so", at("//x.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            ("P21: a directory before it", at("//evil/.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            ("P21: a file with @", at("//.gitlab-ci.yml@evil@refs/heads/main"), rule(), refused),
            ("P21: @ first", at("//@.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            ("P21: upper case", at("//.GITLAB-CI.yml@refs/heads/main"), rule(), refused),
            ("P21: another ref", at("//.gitlab-ci.yml@refs/heads/evil"), rule(), refused),
            ("P21: a ref that ends so", at("//.gitlab-ci.yml@x/refs/heads/main"), rule(), refused),
            ("P21: no ref", at("//.gitlab-ci.yml"), rule(), refused),
            (
                "P21: a file in the ref",
                at("//evil.yml@x/my-group/my-project//.gitlab-ci.yml@refs/heads/main"),
                rule(),
                refused,
            ),
            (
                "P21: a project before the project",
                says("gitlab.com/x/my-group/my-project//.gitlab-ci.yml@refs/heads/main"),
                rule(),
                refused,
            ),
            ("P21: no host", says("my-group/my-project//.gitlab-ci.yml@refs/heads/main"), rule(), refused),
            (
                "P21: an empty host",
                says("/my-group/my-project//.gitlab-ci.yml@refs/heads/main"),
                rule(),
                refused,
            ),
            (
                "P21: the path in upper case",
                says("gitlab.com/My-Group/my-project//.gitlab-ci.yml@refs/heads/main"),
                rule(),
                refused,
            ),
        ],
    );
    for text in ["", "/etc/passwd", "a//b.yml", "../x.yml", "a/./b", ".gitlab-ci.yml@group/other", "a\\b"] {
        let body = requests::changed(requests::gitlab(), &[("workflow", json!(text))]);
        read(&body).expect_err(text);
    }
}

#[test]
fn p22_a_required_workflow_of_another_repository_is_not_ours() {
    // A ruleset runs it under our repository's name, at a ref of the other one.
    let refused = "workflow_not_allowed";
    let required = |claim: &str| claims_with(github(), &one("workflow_ref", claim));
    let rule = || changed(github_policy(), file("deploy.yml"));
    let answer = |payload: &Payload| word(&decided(payload, rule(), json!({}), json!({})));
    for (case, claim, expected) in [
        ("our own", "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main", "granted"),
        (
            "our own in upper case",
            "Octo-Org/Octo-Repo/.github/workflows/deploy.yml@refs/heads/main",
            "granted",
        ),
        (
            "of the organisation's rules",
            "octo-org/rules/.github/workflows/deploy.yml@refs/heads/main",
            refused,
        ),
        ("of another owner", "evil/octo-repo/.github/workflows/deploy.yml@refs/heads/main", refused),
        ("of a longer name", "octo-org/octo-repo2/.github/workflows/deploy.yml@refs/heads/main", refused),
        (
            "of a name before ours",
            "x/octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
            refused,
        ),
        ("of no repository", ".github/workflows/deploy.yml@refs/heads/main", refused),
        (
            "another directory of ours",
            "octo-org/octo-repo/x/.github/workflows/deploy.yml@refs/heads/main",
            refused,
        ),
    ] {
        assert_eq!(answer(&required(claim)), expected, "P22: {case}");
    }
    for text in ["octo-org/rules/.github/workflows/deploy.yml", "evil/web/.github/workflows/deploy.yml"] {
        let failure = read(&with(&[("workflow", json!(text))])).expect_err(text);
        assert!(failure.text().contains("is in another repository"), "P22: `{text}`: {failure}");
    }
    // GitLab says null, or the other project's path.
    let elsewhere =
        gitlab().with("ci_config_ref_uri", "gitlab.com/other/project//.gitlab-ci.yml@refs/heads/main");
    let policy = changed(gitlab_policy(), one("workflow", ".gitlab-ci.yml"));
    assert_eq!(word(&decided(&elsewhere, policy, json!({}), json!({}))), refused, "P22: on GitLab");
}
