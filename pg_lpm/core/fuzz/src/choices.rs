//! The decision for what a few bytes choose from menus: reaches deeper than mutated JSON does.

use crate::decision::{judge, ready};
use crate::doc::Doc;
use crate::input::Bytes;
use crate::policy::requested;
use lpm_core::claims::{Claims, Provider};
use lpm_core::decision::{Candidate, Facts, Pin, Plan};
use lpm_core::json::{Limits, parse};
use lpm_core::policy::Policy;
use serde_json::{Map, Value, json};

const FIXTURES: [(Provider, &str); 2] = [
    (Provider::GitHub, include_str!("../../tests/fixtures/claims/github-push.json")),
    (Provider::GitLab, include_str!("../../tests/fixtures/claims/gitlab-push.json")),
];

const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

/// A menu: a member and its values, as JSON.
type Menu = (&'static str, &'static [&'static str]);

const REFS: &[&str] = &[
    r#""refs/heads/main""#,
    r#""refs/heads/release/1.0""#,
    r#""refs/tags/main""#,
    r#""refs/tags/v1""#,
    r#""refs/pull/7/merge""#,
    r#""refs/heads/gh-readonly-queue/main/pr-7-0f1e2d3c4b5a69788796a5b4c3d2e1f001122334""#,
    r#""refs/heads/dependabot/npm/x""#,
    r#""refs/heads/""#,
    r#""refs/heads/refs/heads/main""#,
];
const SHORT: &[&str] = &[r#""main""#, r#""release/1.0""#, r#""v1""#, r#""refs/heads/main""#];
const EVENTS: &[&str] = &[
    r#""push""#,
    r#""pull_request""#,
    r#""pull_request_target""#,
    r#""merge_group""#,
    r#""release""#,
    r#""workflow_run""#,
    r#""next_years_event""#,
];
const NAMES: &[&str] = &[r#""production""#, r#""Production""#, r#""staging""#];
const RUNNERS: &[&str] = &[r#""github-hosted""#, r#""gitlab-hosted""#, r#""self-hosted""#];
const IDS: &[&str] = &[r#""20""#, r#""991""#, r#""456789""#, r#""123456""#];
const PATHS: &[&str] = &[r#""my-group/my-project""#, r#""evil/my-project""#, r#""My-Group/my-project""#];
const FLAGS: &[&str] = &[r#""true""#, r#""false""#];
const SHAS: &[&str] =
    &[r#""0f1e2d3c4b5a69788796a5b4c3d2e1f001122334""#, r#""99aabbccddeeff00112233445566778899aabbcc""#];

const GITHUB_CLAIMS: &[Menu] = &[
    ("ref", REFS),
    ("ref_type", &[r#""branch""#, r#""tag""#]),
    ("head_ref", SHORT),
    ("base_ref", SHORT),
    ("event_name", EVENTS),
    ("ref_protected", FLAGS),
    ("environment", NAMES),
    ("repository", &[r#""octo-org/octo-repo""#, r#""Octo-Org/OCTO-repo""#, r#""evil/octo-repo""#]),
    ("repository_id", IDS),
    ("repository_owner_id", IDS),
    ("runner_environment", RUNNERS),
    ("aud", &[r#""https://lpm.dev""#, r#""https://vault.example.com""#]),
    ("iss", &[r#""https://token.actions.githubusercontent.com""#, r#""https://github.example""#]),
    ("sha", SHAS),
    ("job_workflow_sha", SHAS),
    (
        "workflow_ref",
        &[
            r#""octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main""#,
            r#""Octo-org/octo-repo/.github/workflows/deploy.yml@0f1e2d3c4b5a69788796a5b4c3d2e1f001122334""#,
            r#""evil/octo-repo/.github/workflows/deploy.yml@refs/heads/main""#,
            r#""octo-org/octo-repo/.github/workflows/deploy.yml@evil.yml@refs/heads/main""#,
        ],
    ),
    (
        "job_workflow_ref",
        &[
            r#""octo-org/ci-shared/.github/workflows/release.yml@refs/tags/v3""#,
            r#""Octo-Org/ci-shared/.github/workflows/release.yml@99aabbccddeeff00112233445566778899aabbcc""#,
            r#""evil/ci-shared/.github/workflows/release.yml@refs/tags/v3""#,
        ],
    ),
];

const GITLAB_CLAIMS: &[Menu] = &[
    ("ref_path", REFS),
    ("ref", SHORT),
    ("ref_type", &[r#""branch""#, r#""tag""#]),
    ("ref_protected", FLAGS),
    ("pipeline_source", &[r#""push""#, r#""web""#, r#""merge_request_event""#, r#""parent_pipeline""#]),
    ("environment", NAMES),
    ("project_id", IDS),
    ("project_path", PATHS),
    ("job_project_id", IDS),
    ("job_project_path", PATHS),
    ("source_project_id", IDS),
    ("source_project_path", PATHS),
    ("runner_environment", RUNNERS),
    ("aud", &[r#""https://lpm.dev""#, r#""https://vault.example.com""#]),
    ("iss", &[r#""https://gitlab.com""#, r#""https://gitlab.example""#]),
    (
        "ci_config_ref_uri",
        &[
            r#""gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main""#,
            r#""gitlab.internal:8443/my-group/my-project//.gitlab-ci.yml@refs/heads/main""#,
            r#""gitlab.com/evil/my-group/my-project//.gitlab-ci.yml@refs/heads/main""#,
        ],
    ),
];

const GITHUB_POLICY: &[Menu] = &[
    ("subject", &[r#""repo:octo-org/octo-repo""#, r#""repo:other/repo""#]),
    ("workflow", &[r#""deploy.yml""#, r#""other.yaml""#]),
    (
        "reusableWorkflow",
        &[
            r#""octo-org/ci-shared/.github/workflows/release.yml@refs/tags/v3""#,
            r#""octo-org/ci-shared/.github/workflows/release.yml@99aabbccddeeff00112233445566778899aabbcc""#,
        ],
    ),
    ("issuer", &[r#""https://token.actions.githubusercontent.com""#, r#""https://github.example""#]),
];

const GITLAB_POLICY: &[Menu] = &[
    (
        "subject",
        &[
            r#""project:my-group/my-project""#,
            r#""project:20""#,
            r#""project:991""#,
            r#""project:evil/my-project""#,
        ],
    ),
    ("workflow", &[r#"".gitlab-ci.yml""#, r#""ci/other.yml""#]),
    ("issuer", &[r#""https://gitlab.com""#, r#""https://gitlab.example""#]),
];

const POLICY: &[Menu] = &[
    ("allowedBranches", &["[]", r#"["main"]"#, r#"["**"]"#, r#"["release/*"]"#, r#"["*", "dependabot/**"]"#]),
    ("allowedTags", &[r#"["**"]"#, r#"["v*"]"#, r#"["main"]"#]),
    ("allowedEnvironments", &["[]", r#"["production"]"#, r#"["staging", "prod"]"#]),
    ("allowForks", &["true", "false"]),
    (
        "allowedEvents",
        &[
            r#"["push", "release"]"#,
            r#"["pull_request", "merge_group"]"#,
            r#"["pull_request_target", "workflow_run"]"#,
            r#"["web", "merge_request_event"]"#,
        ],
    ),
    ("ciEnvironment", NAMES),
    ("protectedRefOnly", &["true", "false"]),
    ("runner", &[r#""hosted""#, r#""self-hosted""#]),
    ("audience", &[r#""https://lpm.dev""#, r#""https://vault.example.com""#]),
];

/// Facts about a policy's row.
const ROW: &[Menu] = &[
    ("pin", &[r#"["20", null]"#, r#"["991", null]"#, r#"["456789", "123456"]"#, r#"["456789", "20"]"#]),
    ("plan", &[r#""free""#, r#""pro""#, r#""org""#]),
    ("escrow", &[r#""wrapping""#]),
    ("escrow_key_loaded", &["true"]),
    ("version", &["0", "1"]),
    ("waiting_since", &["1790000060", "1787408060", "1787408059"]),
    ("owner", &[r#""alice""#, r#""acme""#]),
    (
        "env_config",
        &[
            r#"{"prod": {"canonical": "production"}}"#,
            r#"{"production": {"canonical": "staging"}}"#,
            r#"{"prod": "production"}"#,
        ],
    ),
];

/// Facts about the request.
const REQUEST: &[Menu] = &[
    ("environment", &[r#""production""#, r#""prod""#, r#""staging""#]),
    ("without_job_project", &["true", "false"]),
    ("pull", &["true", "false"]),
];

/// What a byte of a choice changes.
const PLACES: u8 = 4;

/// The provider, then three bytes per choice: the place, the member, the value.
pub fn choices(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (provider, fixture) = FIXTURES[usize::from(bytes.byte() % 2)];
    let (subject, claims_menu, policy_menu) = match provider {
        Provider::GitHub => ("repo:octo-org/octo-repo", GITHUB_CLAIMS, GITHUB_POLICY),
        Provider::GitLab => ("project:my-group/my-project", GITLAB_CLAIMS, GITLAB_POLICY),
    };
    let mut claims: Map<String, Value> = serde_json::from_str(fixture).expect("a fixture is an object");
    claims.entry("sha").or_insert_with(|| SHA.into());
    let policy = json!({
        "vaultId": "vault-abc", "provider": provider, "issuer": claims["iss"],
        "subject": subject,
        "allowedBranches": ["main"], "allowedEnvironments": ["production"], "allowForks": false
    });
    let row = json!({
        "plan": "org", "escrow": "wrapping", "escrow_key_loaded": true, "version": 3,
        "waiting_since": 1_790_000_060, "owner": "alice"
    });
    let mut policies = [object(policy.clone()), object(policy)];
    let mut rows = [object(row.clone()), object(row)];
    let mut request =
        object(json!({ "environment": "production", "without_job_project": false, "pull": true }));
    let mut two = false;

    while !bytes.is_empty() {
        let [place, member, value] = bytes.array();
        let n = usize::from(place / PLACES % 2);
        two |= n == 1;
        let common = POLICY.len();
        match place % PLACES {
            0 => choose(&mut claims, claims_menu, member, value),
            1 if usize::from(member) % 16 < common => choose(&mut policies[n], POLICY, member % 16, value),
            1 => choose(&mut policies[n], policy_menu, member, value),
            2 => choose(&mut rows[n], ROW, member, value),
            _ => choose(&mut request, REQUEST, member, value),
        }
    }
    let payload = Value::Object(claims).to_string().into_bytes();
    let Ok(parsed) = Claims::parse(provider, &payload) else { return };
    let mut candidates = Vec::new();
    for (n, (policy, row)) in policies.into_iter().zip(rows).enumerate().take(if two { 2 } else { 1 }) {
        let Ok(new) = requested(Value::Object(policy).to_string().as_bytes()) else { continue };
        candidates.push(candidate(n, new.policy, &row));
    }
    let facts = Facts {
        now: 1_790_000_060,
        vault: "vault-abc".to_owned(),
        environment: request.get("environment").and_then(Value::as_str).unwrap_or_default().to_owned(),
        without_job_project: request.get("without_job_project") == Some(&Value::Bool(true)),
        pull: request.get("pull") == Some(&Value::Bool(true)),
        candidates,
    };
    judge(&parsed, &Doc::parse(&payload).expect("our own JSON"), &facts);
}

fn object(json: Value) -> Map<String, Value> {
    let Value::Object(object) = json else { panic!("an object was written") };
    object
}

/// Sets a member to a value of its menu, to the empty string, to null, or takes it away.
fn choose(object: &mut Map<String, Value>, menus: &[Menu], member: u8, value: u8) {
    let (name, values) = menus[usize::from(member) % menus.len()];
    let value = match values.get(usize::from(value) % (values.len() + 3)) {
        Some(json) => serde_json::from_str(json).expect("menus are JSON"),
        None => match usize::from(value) % (values.len() + 3) - values.len() {
            0 => Value::Null,
            1 => Value::String(String::new()),
            _ => return drop(object.remove(name)),
        },
    };
    object.insert(name.to_owned(), value);
}

fn candidate(n: usize, policy: Policy, row: &Map<String, Value>) -> Candidate {
    let mut candidate = ready(n, policy);
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let pin = row.get("pin").and_then(Value::as_array);
    candidate.pin = pin.map(|pin| Pin {
        id: pin[0].as_str().unwrap_or_default().to_owned(),
        owner_id: pin[1].as_str().map(str::to_owned),
    });
    candidate.plan = match text("plan") {
        Some("org") => Plan::Org,
        Some("pro") => Plan::Pro,
        _ => Plan::Free,
    };
    candidate.escrow = candidate.escrow.filter(|_| text("escrow").is_some_and(|kind| !kind.is_empty()));
    candidate.escrow_key_loaded = row.get("escrow_key_loaded") == Some(&Value::Bool(true));
    candidate.version =
        if row.get("version").and_then(Value::as_i64).unwrap_or_default() > 0 { 1 } else { 0 };
    candidate.waiting_since = row.get("waiting_since").and_then(Value::as_i64).unwrap_or_default();
    candidate.owner = text("owner").unwrap_or_default().to_owned();
    candidate.env_config =
        row.get("env_config").and_then(|config| parse(config.to_string().as_bytes(), &Limits::BODY).ok());
    candidate
}
