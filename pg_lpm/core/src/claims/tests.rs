use super::testing::{github, gitlab, payload};
use super::*;
use crate::failure::exit;
use serde_json::json;

fn missing(claim: &'static str) -> ClaimsError {
    ClaimsError::Missing { claim }
}

fn look_alike(claim: &'static str) -> ClaimsError {
    ClaimsError::LookAlike { claim }
}

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
fn a_use_key_depends_on_issuer_and_jti_and_their_border() {
    let key = |issuer: &str, jti: &str| github().with("iss", issuer).with("jti", jti).claims().use_key();
    // Made with Python: sha256(b"\0\0\0\x02ab" + b"\0\0\0\x01c").
    let expected = "f2939f903016e5bb29b1e4a61cdbd376220ca03a24180b39995f2d50f2e0a647";
    assert_eq!(hex::encode(key("ab", "c")), expected);
    assert_ne!(key("ab", "c"), key("a", "bc"));
    assert_ne!(key("ab", "c"), key("ac", "c"), "J16: another issuer");
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
fn a_required_claim_must_be_there() {
    let registered = ["iss", "aud", "jti", "iat", "exp"];
    let of_github = ["repository", "repository_id", "repository_owner", "repository_owner_id"];
    // J22: a GitLab login token has none of the last four.
    let of_gitlab = ["project_id", "project_path", "job_id", "pipeline_id"];
    let cases = (registered.iter().chain(&of_github).map(|claim| (github(), *claim)))
        .chain(registered.iter().chain(&of_gitlab).map(|claim| (gitlab(), *claim)));
    for (payload, claim) in cases {
        assert_eq!(payload.clone().without(claim).parse(), Err(missing(claim)));
        assert_eq!(payload.clone().with(claim, json!(null)).parse(), Err(missing(claim)));
        payload.with(claim, "").parse().expect_err(claim);
    }
}

#[test]
fn j22_a_login_token_is_no_job_token() {
    let login = json!({
        "iss": "https://gitlab.com", "sub": "1", "aud": "https://lpm.dev", "jti": "x",
        "iat": 1_790_000_000, "exp": 1_790_000_120, "nickname": "sample-user", "groups_direct": ["g"]
    });
    let bytes = login.to_string().into_bytes();
    assert_eq!(Claims::parse(Provider::GitLab, &bytes), Err(missing("project_id")));
    assert_eq!(Claims::parse(Provider::GitHub, &bytes), Err(missing("repository")));
    assert_eq!(Claims::parse(Provider::GitHub, &gitlab().bytes()), Err(missing("repository")));
    assert_eq!(Claims::parse(Provider::GitLab, &github().bytes()), Err(missing("project_id")));
}

#[test]
fn a_wrong_type_is_refused() {
    let cases = [
        ("J9 exp as a string", github().with("exp", "1790000300"), "exp"),
        ("J9 fraction", github().with("exp", json!(1_790_000_300.5)), "exp"),
        ("J9 whole number written as a fraction", github().with("exp", json!(1_790_000_300.0)), "exp"),
        ("J9 negative", github().with("iat", -1), "iat"),
        ("J9 time as a list", github().with("nbf", json!([1])), "nbf"),
        ("J9 time as a boolean", github().with("nbf", true), "nbf"),
        ("J25 beyond 2^53", github().with("exp", (1_i64 << 53) + 1), "exp"),
        ("J25 beyond i64", github().with("exp", u64::MAX), "exp"),
        ("J25 large but double", github().with("exp", 1e300), "exp"),
        ("J25 negative zero", github().with("iat", -0.0), "iat"),
        ("J9 aud an object", github().with("aud", json!({})), "aud"),
        ("J9 aud an empty list", github().with("aud", json!([])), "aud"),
        ("J9 aud a list of null", github().with("aud", json!([null])), "aud"),
        ("J18 aud a list of one", github().with("aud", json!(["https://lpm.dev"])), "aud"),
        (
            "J18 aud a list of two",
            gitlab().with("aud", json!(["https://lpm.dev", "https://evil.example"])),
            "aud",
        ),
        ("J17 jti a number", github().with("jti", 1), "jti"),
        ("J9 iss a list", github().with("iss", json!(["https://gitlab.com"])), "iss"),
        ("J9 sub a number", github().with("sub", 1), "sub"),
        ("J9 id a number", github().with("repository_id", 456_789), "repository_id"),
        ("J9 id a fraction", github().with("repository_id", "456789.0"), "repository_id"),
        ("J9 id with a space", github().with("repository_id", "456789 "), "repository_id"),
        ("J9 id with a sign", github().with("repository_owner_id", "+123456"), "repository_owner_id"),
        ("J9 id with a leading zero", github().with("repository_id", "0456789"), "repository_id"),
        ("J9 id in Arabic digits", github().with("repository_id", "٤٥٦"), "repository_id"),
        ("J9 id of 21 digits", gitlab().with("project_id", "1".repeat(21)), "project_id"),
        ("J9 optional id a number", gitlab().with("job_project_id", 20), "job_project_id"),
        ("J9 optional id a list", gitlab().with("source_project_id", json!(["20"])), "source_project_id"),
        ("J9 flag a boolean", github().with("ref_protected", true), "ref_protected"),
        ("J9 flag spelled otherwise", github().with("ref_protected", "True"), "ref_protected"),
        ("J9 flag a number", gitlab().with("environment_protected", 1), "environment_protected"),
        ("J9 ref a list", github().with("ref", json!(["refs/heads/main"])), "ref"),
        ("J9 event a boolean", github().with("event_name", false), "event_name"),
        (
            "J9 environment an object",
            gitlab().with("environment", json!({"name": "production"})),
            "environment",
        ),
        ("P14 Kelvin sign", github().with("repository", "\u{212A}acme/app"), "repository"),
        ("P14 full-width letter", github().with("repository", "ａcme/app"), "repository"),
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
fn other_forms_of_a_claim_are_refused() {
    let cases = [
        ("J17 no jti", github().without("jti"), missing("jti")),
        ("J17 empty jti", github().with("jti", ""), ClaimsError::Empty { claim: "jti" }),
        (
            "J17 huge jti",
            github().with("jti", "x".repeat(257)),
            ClaimsError::TooLong { claim: "jti", max: 256 },
        ),
        ("J18 empty aud", github().with("aud", ""), ClaimsError::Empty { claim: "aud" }),
        ("J19 empty iss", github().with("iss", ""), ClaimsError::Empty { claim: "iss" }),
    ];
    for (name, payload, expected) in cases {
        assert_eq!(payload.parse(), Err(expected), "{name}");
    }
    github().with("jti", "x".repeat(256)).claims();
}

#[test]
fn j8_a_look_alike_of_a_claim_is_refused_beside_it_and_instead_of_it() {
    let of_github = [
        ("SUB", "sub"),
        ("\u{17F}ub", "sub"),
        ("i\u{17F}s", "iss"),
        ("i\u{17F}\u{17F}", "iss"),
        ("Iss", "iss"),
        ("\u{130}ss", "iss"),
        ("\u{131}ss", "iss"),
        ("AUD", "aud"),
        ("Jti", "jti"),
        ("Exp", "exp"),
        ("Repository", "repository"),
        ("repo\u{17F}itory_ID", "repository_id"),
        ("wor\u{212A}flow", "workflow"),
        ("wor\u{212A}flow_REF", "workflow_ref"),
        ("REF", "ref"),
        ("Event_Name", "event_name"),
    ];
    for (name, claim) in of_github {
        assert_eq!(github().with(name, "x").parse(), Err(look_alike(claim)), "{name} beside");
        let instead = github().with(claim, "x").without(claim).with(name, "x");
        assert_eq!(instead.parse(), Err(look_alike(claim)), "{name} instead");
    }
    assert_eq!(gitlab().with("Project_ID", "1").parse(), Err(look_alike("project_id")));
    assert_eq!(gitlab().with("u\u{17F}er_login", "x").parse(), Err(look_alike("user_login")));
}

#[test]
fn j8_other_names_with_capitals_are_only_ignored() {
    // Organisations name their custom properties freely.
    let plain = github().claims();
    let more = github().with("repo_property_Team", "x").with("ſ", 1).with("Project_ID", "1").claims();
    assert_eq!(more, plain);
}

#[test]
fn a_payload_that_parsers_could_read_differently_is_refused() {
    let deep = format!(r#""x":{}{}"#, "[".repeat(8), "]".repeat(8));
    let many: String = (0..128).map(|i| format!(r#""x{i}":1,"#)).collect();
    let cases = [
        ("J7 twice", r#""repository":"evil/x""#.to_owned()),
        ("J7 twice, escaped", r#""\u0072epository":"evil/x""#.to_owned()),
        ("J7 twice, in an unread claim", r#""x":{"a":1,"a":2}"#.to_owned()),
        ("J8 NUL in a name", r#""iss\u0000":"x""#.to_owned()),
        ("J9 beyond double", r#""x":1e400"#.to_owned()),
        ("J23 members", format!(r#"{many}"y":1"#)),
        ("J23 items", format!(r#""x":[{}0]"#, "0,".repeat(256))),
        ("J23 string", format!(r#""x":"{}""#, "x".repeat(4097))),
        ("J24 deep", deep),
        ("J26 lone surrogate", r#""x":"\ud800""#.to_owned()),
        ("J26 NUL", r#""x":"\u0000""#.to_owned()),
    ];
    for (name, members) in cases {
        let error = Claims::parse(Provider::GitHub, &github().bytes_with(&members)).expect_err(name);
        assert!(matches!(error, ClaimsError::Json(_)), "{name}: {error}");
        assert_eq!(error.failure().code, Code::TokenMalformed, "{name}");
    }
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
