use super::*;
use crate::failure::exit;
use crate::support::claims::{github, gitlab, payload};
use serde_json::json;

#[test]
fn a_github_push_is_read() {
    let claims = github().claims();
    let Job::GitHub(job) = &claims.job else { panic!("a GitHub job") };
    assert_eq!(claims.issuer, "https://token.actions.githubusercontent.com");
    assert_eq!(claims.audience, "https://lpm.dev");
    assert_eq!((claims.issued_at, claims.not_before), (1_790_000_000, Some(1_789_999_400)));
    assert_eq!(claims.expires_at - claims.issued_at, 300);
    assert_eq!(job.ref_protected, Some(true));
    assert_eq!((&job.head_ref, &job.base_ref), (&None, &None), "empty is absent");
    assert_eq!(claims.subjects(), ["repo:octo-org/octo-repo"]);
    assert_eq!((claims.stable_id(), claims.owner_id()), ("456789", Some("123456")));
    assert_eq!(claims.branch_text().as_deref(), Some("main"));
    assert_eq!(claims.event_text().as_deref(), Some("push"));
    assert_eq!(claims.run_text().as_deref(), Some("17654321098"));
    assert_eq!(claims.actor_text().as_deref(), Some("monalisa"));
    assert_eq!(claims.sha_text().as_deref(), Some("0f1e2d3c4b5a69788796a5b4c3d2e1f001122334"));
    let workflow = "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main";
    assert_eq!(claims.workflow_text().as_deref(), Some(workflow));
}

#[test]
fn a_gitlab_push_is_read() {
    let claims = gitlab().claims();
    assert_eq!(claims.provider(), Provider::GitLab);
    assert_eq!(claims.subjects(), ["project:20", "project:my-group/my-project"]);
    assert_eq!((claims.stable_id(), claims.owner_id()), ("20", None));
    assert_eq!(claims.branch_text().as_deref(), Some("main"));
    assert_eq!(claims.run_text().as_deref(), Some("574/302"));
    assert_eq!(claims.actor_text().as_deref(), Some("sample-user"));
    assert_eq!(claims.sha_text().as_deref(), Some("714a629c0b401fdce83e847fc9589983fc6f46bc"));
}

#[test]
fn every_fixture_is_read() {
    let directory = format!("{}/tests/fixtures/claims", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(directory).expect("the directory is there");
    let names: Vec<String> = files
        .map(|file| file.expect("readable").file_name().into_string().expect("ASCII"))
        .map(|name| name.strip_suffix(".json").expect("only JSON files").to_owned())
        .collect();
    assert!(names.len() >= 11);
    for name in names {
        payload(&name).claims();
    }
}

#[test]
fn a_fork_in_the_parent_can_match_policies_of_both_projects() {
    let claims = payload("gitlab-fork-merge-request-18.4").claims();
    let both = ["project:991", "project:evil/my-project", "project:20", "project:my-group/my-project"];
    assert_eq!(claims.subjects(), both);
    assert_eq!(claims.stable_id(), "20");
    assert_eq!(claims.subject_text(), "project:my-group/my-project");
    let before = payload("gitlab-fork-merge-request-before-18.2.2").claims();
    assert_eq!(before.subjects(), ["project:20", "project:my-group/my-project"]);
    let without = payload("gitlab-fork-merge-request-18.2.2").claims();
    assert_eq!(without.subjects(), ["project:991", "project:evil/my-project"]);
}

#[test]
fn what_is_no_branch_keeps_its_full_name() {
    let cases = [
        (github().with("ref", "refs/tags/main"), Some("refs/tags/main")),
        (github().with("ref", "refs/pull/9/merge"), Some("refs/pull/9/merge")),
        (github().with("ref", "refs/heads/refs/heads/main"), Some("refs/heads/main")),
        (github().with("ref", "refs/heads/"), Some("refs/heads/")),
        (github().with("ref", ""), None),
        (
            gitlab().with("ref", "v1").with("ref_type", "tag").with("ref_path", "refs/tags/v1"),
            Some("refs/tags/v1"),
        ),
        (gitlab().with("ref", "v1").with("ref_type", "tag").without("ref_path"), Some("refs/tags/v1")),
        (gitlab().without("ref_path"), Some("main")),
    ];
    for (payload, expected) in cases {
        assert_eq!(payload.claims().branch_text().as_deref(), expected);
    }
}

#[test]
fn a_repository_key_is_in_ascii_lower_case_and_a_project_key_exact() {
    let claims = github().with("repository", "ACME/App_1.x").claims();
    assert_eq!(claims.subjects(), ["repo:acme/app_1.x"]);
    assert_eq!(claims.subject_text(), "repo:ACME/App_1.x");
    let claims =
        gitlab().with("project_path", "G/Sub/P").without("job_project_id").without("job_project_path");
    assert_eq!(claims.claims().subjects(), ["project:20", "project:G/Sub/P"]);
}

#[test]
fn an_absent_null_or_empty_claim_is_none() {
    for value in [json!(null), json!("")] {
        let claims = github()
            .with("ref", value.clone())
            .with("ref_protected", value.clone())
            .with("environment", value.clone())
            .with("actor_id", value.clone());
        let Job::GitHub(job) = claims.claims().job else { panic!("a GitHub job") };
        assert_eq!((job.git_ref, job.ref_protected, job.environment, job.actor_id), (None, None, None, None));
    }
    let claims = gitlab().with("ci_config_ref_uri", json!(null)).without("environment_protected").claims();
    assert_eq!(claims.workflow_text(), None);
}

#[test]
fn a_name_of_another_form_is_refused() {
    let cases = [
        ("a repository without owner", github().with("repository", "app"), "repository"),
        ("a repository with three parts", github().with("repository", "acme/app/x"), "repository"),
        ("a repository with an empty part", github().with("repository", "acme/"), "repository"),
        ("a repository with a command", github().with("repository", "acme/$(id)"), "repository"),
        ("an owner with a slash", github().with("repository_owner", "octo-org/x"), "repository_owner"),
        ("a project without group", gitlab().with("project_path", "app"), "project_path"),
        ("a project with an empty part", gitlab().with("job_project_path", "g//p"), "job_project_path"),
        ("a project with a line feed", gitlab().with("project_path", "g/p\n"), "project_path"),
    ];
    for (name, payload, claim) in cases {
        let error = payload.parse().expect_err(name);
        assert!(matches!(error, ClaimsError::Type { claim: c, .. } if c == claim), "{name}: {error}");
    }
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    for document in ["[]", "null", "\"x\"", "1"] {
        let error = Claims::parse(Provider::GitHub, document.as_bytes());
        assert_eq!(error, Err(ClaimsError::NotAnObject), "{document}");
    }
}

#[test]
fn an_error_names_the_claim_and_never_its_value() {
    let payloads = [
        github().with("repository", "canary"),
        github().with("exp", "canary"),
        github().with("jti", "canary".repeat(100)),
        github().with("canary", "canary").with("Canary", "x\u{0}"),
        github().with("ref_protected", "canary"),
    ];
    for payload in payloads {
        let error = payload.parse().expect_err("refused");
        for text in [error.to_string(), format!("{error:?}"), error.failure().body()] {
            assert!(!text.contains("canary"), "{text}");
        }
        assert_eq!(error.failure().code.exit_code(), exit::DENIED);
    }
}

#[test]
fn there_are_two_providers() {
    for provider in Provider::ALL {
        assert_eq!(Provider::parse(provider.as_str()).expect("known"), provider);
        assert_eq!(serde_json::to_value(provider).expect("a string"), provider.as_str());
    }
    for name in ["", "GitHub", "github ", "gitea", "bitbucket"] {
        let failure = Provider::parse(name).expect_err(name);
        assert_eq!((failure.code, failure.code.status()), (Code::ProviderUnsupported, 400), "{name}");
        assert!(failure.text().contains("`github` or `gitlab`"), "{name}");
        assert_eq!(failure.hint().contains("do not carry the identity"), name == "bitbucket", "{name}");
    }
}
