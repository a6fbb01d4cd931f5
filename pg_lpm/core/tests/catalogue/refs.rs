//! P1 to P3: branches are branches and tags are tags, whatever they are called.

use crate::support::claims::{github, gitlab, payload};
use crate::support::decision::*;
use serde_json::{Value, json};

fn branches(patterns: &[&str]) -> Value {
    one("allowedBranches", json!(patterns))
}

fn tags(patterns: &[&str]) -> Value {
    one("allowedTags", json!(patterns))
}

#[test]
fn p01_a_tag_never_matches_a_branch_rule_on_github() {
    let tag = || json!({ "ref": "refs/tags/main", "ref_type": "tag" });
    run_table(
        github,
        github_policy,
        vec![
            ("P1: a tag named main, the branch main", tag(), json!({}), "tag_not_allowed"),
            ("P1: a tag, every branch by **", tag(), branches(&["**"]), "tag_not_allowed"),
            ("P1: a tag, every branch by []", tag(), branches(&[]), "tag_not_allowed"),
            ("P1: a tag, the branches tags/*", tag(), branches(&["tags/*"]), "tag_not_allowed"),
            ("P1: a tag, protected", tag(), one("protectedRefOnly", true), "tag_not_allowed"),
            ("P1: a tag, another tag rule", tag(), tags(&["v*"]), "tag_not_allowed"),
            ("P1: a tag, its tag rule", tag(), tags(&["main"]), "granted"),
            (
                "P1: a branch, a tag rule",
                json!({}),
                changed(tags(&["main"]), branches(&[])),
                "branch_not_allowed",
            ),
            (
                "P1: a tag that says it is a branch",
                one("ref", "refs/tags/main"),
                tags(&["**"]),
                "ref_not_allowed",
            ),
            ("P1: a branch that says it is a tag", one("ref_type", "tag"), tags(&["**"]), "ref_not_allowed"),
            ("P1: a type that nobody knows", one("ref_type", "note"), branches(&[]), "ref_not_allowed"),
            ("P1: a type in upper case", one("ref_type", "BRANCH"), branches(&[]), "ref_not_allowed"),
            ("P1: the short name", one("ref", "main"), json!({}), "ref_not_allowed"),
            ("P1: refs/notes", one("ref", "refs/notes/main"), branches(&[]), "ref_not_allowed"),
        ],
    );
}

#[test]
fn p01_on_gitlab_the_full_name_must_say_what_the_short_one_and_its_type_say() {
    let tag = || json!({ "ref_type": "tag", "ref_path": "refs/tags/main" });
    let path = |path: &str| one("ref_path", path);
    run_table(
        gitlab,
        gitlab_policy,
        vec![
            ("P1: a branch", json!({}), json!({}), "granted"),
            ("P1: a tag named main, the branch main", tag(), json!({}), "tag_not_allowed"),
            ("P1: a tag, every branch by []", tag(), branches(&[]), "tag_not_allowed"),
            ("P1: a tag, every branch by **", tag(), branches(&["**"]), "tag_not_allowed"),
            ("P1: a tag, its tag rule", tag(), tags(&["main"]), "granted"),
            (
                "P1: a tag whose path is another's",
                changed(tag(), one("ref_path", "refs/tags/other")),
                tags(&["**"]),
                "ref_not_allowed",
            ),
            ("P1: only the type says tag", one("ref_type", "tag"), tags(&["**"]), "ref_not_allowed"),
            ("P1: only the path says tag", path("refs/tags/main"), tags(&["**"]), "ref_not_allowed"),
            ("P1: the path of another branch", path("refs/heads/other"), branches(&[]), "ref_not_allowed"),
            ("P1: the short name of another", one("ref", "other"), branches(&[]), "ref_not_allowed"),
            (
                "P1: the short name written in full",
                one("ref", "refs/heads/main"),
                branches(&[]),
                "ref_not_allowed",
            ),
            (
                "P1: a merge request's path",
                path("refs/merge-requests/7/head"),
                branches(&[]),
                "ref_not_allowed",
            ),
            ("P1: an environment's path", path("refs/environments/main"), branches(&[]), "ref_not_allowed"),
            ("P1: the path in another case", path("refs/Heads/main"), branches(&[]), "ref_not_allowed"),
            (
                "P1: another branch",
                json!({ "ref": "dev", "ref_path": "refs/heads/dev" }),
                json!({}),
                "branch_not_allowed",
            ),
            ("P1: no path", json!({ "ref_path": null }), branches(&[]), "ref_not_allowed"),
            ("P1: no type", json!({ "ref_type": null }), branches(&[]), "ref_not_allowed"),
            ("P1: no short name", json!({ "ref": null }), branches(&[]), "ref_not_allowed"),
        ],
    );
}

#[test]
fn p02_a_prefix_is_stripped_once() {
    let git_ref = |name: &str| one("ref", name);
    let nested = || git_ref("refs/heads/refs/heads/main");
    let nested_tag = || json!({ "ref": "refs/tags/refs/heads/main", "ref_type": "tag" });
    run_table(
        github,
        github_policy,
        vec![
            ("P2: a branch named refs/heads/main", nested(), json!({}), "branch_not_allowed"),
            ("P2: it is a branch all the same", nested(), branches(&["refs/**"]), "granted"),
            (
                "P2: a tag named refs/heads/main",
                nested_tag(),
                changed(tags(&["main"]), branches(&["**"])),
                "tag_not_allowed",
            ),
            (
                "P2: a branch named heads/main",
                git_ref("refs/heads/heads/main"),
                json!({}),
                "branch_not_allowed",
            ),
            ("P2: a branch named main/", git_ref("refs/heads/main/"), json!({}), "branch_not_allowed"),
            ("P2: a branch named /main", git_ref("refs/heads//main"), json!({}), "branch_not_allowed"),
            ("P2: refs/heads/ alone", git_ref("refs/heads/"), branches(&[]), "ref_not_allowed"),
            ("P2: a space first", git_ref(" refs/heads/main"), branches(&[]), "ref_not_allowed"),
            ("P2: a space behind", git_ref("refs/heads/main "), json!({}), "branch_not_allowed"),
            ("P2: a line feed behind", git_ref("refs/heads/main\n"), json!({}), "branch_not_allowed"),
            ("P2: remotes", git_ref("refs/remotes/origin/main"), branches(&[]), "ref_not_allowed"),
        ],
    );
    for name in ["HEAD", "-rf", "@", "--branch=main", "FETCH_HEAD", "main@{1}", "main^", "main~1", ":main"] {
        let full = || git_ref(&format!("refs/heads/{name}"));
        let bare = || git_ref(name);
        run_table(
            github,
            github_policy,
            vec![
                ("P2: such a branch is not main", full(), json!({}), "branch_not_allowed"),
                ("P2: such a branch is one of all", full(), branches(&[]), "granted"),
                ("P2: the bare name is no ref", bare(), branches(&[]), "ref_not_allowed"),
            ],
        );
        let on_gitlab = |path: &str| json!({ "ref": name, "ref_path": path });
        run_table(
            gitlab,
            gitlab_policy,
            vec![
                (
                    "P2: such a branch is not main",
                    on_gitlab(&format!("refs/heads/{name}")),
                    json!({}),
                    "branch_not_allowed",
                ),
                ("P2: the bare name is no path", on_gitlab(name), branches(&[]), "ref_not_allowed"),
            ],
        );
    }
    run_table(
        gitlab,
        gitlab_policy,
        vec![(
            "P2: a branch named refs/heads/main",
            json!({ "ref": "refs/heads/main", "ref_path": "refs/heads/refs/heads/main" }),
            json!({}),
            "branch_not_allowed",
        )],
    );
}

#[test]
fn p03_a_pull_requests_merge_ref_is_no_branch() {
    // `ref_type` says branch, as it does for these.
    let merge =
        |event: &str| json!({ "ref": "refs/pull/9/merge", "ref_type": "branch", "event_name": event });
    for patterns in [&[][..], &["**"], &["main"], &["refs/pull/*/merge"], &["pull/**"], &["9/merge"]] {
        run_table(
            github,
            github_policy,
            vec![
                ("P3: a push", merge("push"), branches(patterns), "ref_not_allowed"),
                ("P3: a dispatch", merge("workflow_dispatch"), branches(patterns), "ref_not_allowed"),
                (
                    "P3: a review, named and with forks",
                    merge("pull_request_review"),
                    changed(
                        branches(patterns),
                        json!({ "allowedEvents": ["pull_request_review"], "allowForks": true }),
                    ),
                    "ref_not_allowed",
                ),
                (
                    "P3: a pull request without its base",
                    merge("pull_request"),
                    changed(branches(patterns), one("allowForks", true)),
                    "ref_not_allowed",
                ),
            ],
        );
    }
    // Where pull requests are allowed, the branch is the one they would be merged into.
    let open = payload("github-pull-request");
    for (case, base, patterns, expected) in [
        ("its base", "main", &["main"][..], "granted"),
        ("another base", "dev", &["main"], "branch_not_allowed"),
        ("the head's name", "dev", &["feature/**"], "branch_not_allowed"),
        ("the merge ref's name", "main", &["refs/**", "pull/**", "*/merge"], "branch_not_allowed"),
    ] {
        let policy = changed(changed(github_policy(), branches(patterns)), one("allowForks", true));
        let verdict = decided(&open.clone().with("base_ref", base), policy, json!({}), json!({}));
        assert_eq!(word(&verdict), expected, "P3: {case}");
    }
}
