//! P15 to P17: who a job is. Names change hands, ids do not, and a fork's pipeline may carry its parent's.

use crate::world::{PULL, World, granted, no_policy, seen};
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::{Provider, TokenRequest};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

fn denied(code: &str) -> (u16, String) {
    (403, code.to_owned())
}

/// A job of a repository with these ids.
fn github(name: &str, id: &str, owner_id: &str) -> TokenRequest {
    TokenRequest::github().repository(name).claim("repository_id", id).claim("repository_owner_id", owner_id)
}

/// A job of a project with this id.
fn gitlab(path: &str, id: &str) -> TokenRequest {
    TokenRequest::gitlab().claim("project_path", path).claim("project_id", id)
}

#[tokio::test]
async fn p15_a_repository_that_took_the_name_is_denied_and_one_that_kept_its_ids_is_not() -> Result<()> {
    let world = World::new().await?;
    let pin = || {
        world.stack.database().value("select concat_ws(' ', subject_id, owner_id) from lpm.oidc_subject_pin where subject like 'repo:%'")
    };
    // whoever is denied is not remembered: the first grant pins, not the first attempt
    let early = world.pull_by(&github("acme/web", "666", "13").branch("x")).await?;
    assert_eq!((seen(&early), pin()?), (denied("branch_not_allowed"), String::new()));
    assert_eq!(seen(&world.pull_by(&github("acme/web", "42", "7")).await?), granted());
    assert_eq!(pin()?, "42 7");
    for (name, request, expected, audited) in [
        (
            "deleted and re-created",
            github("acme/web", "43", "7"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
        (
            "owner renamed, name taken",
            github("acme/web", "99", "8"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
        (
            "in another case",
            github("ACME/Web", "99", "8"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
        (
            "a fork renamed to it",
            github("acme/web", "77", "9"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
        ("transferred", github("acme/web", "42", "8"), denied("owner_changed"), "denied owner_changed"),
        (
            "transferred and renamed",
            github("evil/web", "42", "8"),
            denied("owner_changed"),
            "denied owner_changed",
        ),
        ("a fork under its own name", github("evil/web", "77", "9"), no_policy(), ""),
        ("ids swapped", github("acme/web", "7", "42"), denied("identity_changed"), "denied identity_changed"),
        ("renamed", github("acme/site", "42", "7"), granted(), "granted renamed"),
        ("owner renamed", github("acme-inc/web", "42", "7"), granted(), "granted renamed"),
        ("as ever", github("acme/web", "42", "7"), granted(), "granted"),
        (
            "taken after all that",
            github("acme/web", "100", "7"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
    ] {
        let reply = world.pull_by(&request).await?;
        assert_eq!(seen(&reply), expected, "P15 {name}: {}", reply.text());
        assert_eq!(world.audited(&reply)?, audited, "P15 {name}");
        assert_eq!(pin()?, "42 7", "P15 {name}: the pin stays");
    }
    Ok(())
}

#[tokio::test]
async fn p16_on_gitlab_the_project_id_decides_whatever_path_and_namespace_say() -> Result<()> {
    let world = World::new().await?;
    assert_eq!(seen(&world.pull_by(&gitlab("my-group/my-project", "20")).await?), granted());
    for (name, request, expected, audited) in [
        (
            "path reused",
            gitlab("my-group/my-project", "21"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
        ("renamed", gitlab("my-group/renamed", "20"), granted(), "granted renamed"),
        ("transferred", gitlab("other-group/my-project", "20"), granted(), "granted renamed"),
        (
            "another namespace id",
            gitlab("my-group/my-project", "20").claim("namespace_id", "73"),
            granted(),
            "granted",
        ),
        (
            "the namespace id as project id",
            gitlab("my-group/my-project", "72"),
            denied("identity_changed"),
            "denied identity_changed",
        ),
        ("another case of the path", gitlab("My-Group/my-project", "21"), no_policy(), ""),
        (
            "the id with a zero before it",
            gitlab("my-group/my-project", "020"),
            (401, "token_claims".to_owned()),
            "",
        ),
    ] {
        let reply = world.pull_by(&request).await?;
        assert_eq!(seen(&reply), expected, "P16 {name}: {}", reply.text());
        assert_eq!(world.audited(&reply)?, audited, "P16 {name}");
    }
    // a policy that names the id needs no first grant
    let by_id = json!({"provider": "gitlab", "subject": "project:20"});
    let vault_id = world.vault_with(&world.alice, &by_id).await?;
    for (name, request, expected) in [
        ("another id", gitlab("my-group/my-project", "21"), no_policy()),
        ("any path", gitlab("some/where/else", "20"), granted()),
    ] {
        let mut body = world.ask(world.issuer.mint(&request)?);
        body["vaultId"] = json!(vault_id);
        let reply = world.gateway.post(PULL, None, &body).await?;
        assert_eq!(seen(&reply), expected, "P16 by id, {name}: {}", reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn p16_of_concurrent_first_grants_with_different_ids_exactly_one_identity_is_pinned() -> Result<()> {
    let world = World::new().await?;
    let second = world.another_gateway()?;
    for provider in [Provider::GitLab, Provider::GitHub] {
        let (subject, request): (_, fn(usize) -> TokenRequest) = match provider {
            Provider::GitLab => {
                ("project:my-group/my-project", |n| gitlab("my-group/my-project", &(20 + n % 2).to_string()))
            }
            Provider::GitHub => ("repo:acme/web", |n| github("acme/web", &(20 + n % 2).to_string(), "7")),
        };
        for round in 0..6 {
            let policy = json!({"provider": provider.as_str(), "subject": subject});
            let vault_id = world.vault_with(&world.alice, &policy).await?;
            let mut requests = JoinSet::new();
            for n in 0..8 {
                let gateway = if n < 4 { &world.gateway } else { &second };
                let mut body = world.ask(world.issuer.mint(&request(n))?);
                body["vaultId"] = json!(vault_id);
                let request = gateway.request(Method::POST, PULL).json(&body);
                requests.spawn(async move {
                    Ok::<_, anyhow::Error>((20 + n % 2, seen(&Reply::read(request.send().await?).await?)))
                });
            }
            let (mut winners, mut losers) = (BTreeSet::new(), BTreeSet::new());
            while let Some(answer) = requests.join_next().await {
                let (id, answer) = answer??;
                if answer == granted() {
                    winners.insert(id);
                } else {
                    assert_eq!(answer, denied("identity_changed"), "P16 {subject}, round {round}");
                    losers.insert(id);
                }
            }
            let pinned = world.stack.database().value(&format!(
                "select subject_id from lpm.oidc_subject_pin where vault_id = '{vault_id}'"
            ))?;
            let pinned: usize = pinned.parse().context("pinned")?;
            assert_eq!(
                (winners, losers),
                (BTreeSet::from([pinned]), BTreeSet::from([41 - pinned])),
                "P16 {subject}, round {round}"
            );
        }
    }
    Ok(())
}

/// GitLab's sample payloads, and what comes of each: for `main` without and with forks, for every branch without and
/// with forks.
const GITLAB_SAMPLES: [(&str, [&str; 4]); 6] = [
    ("gitlab-push", ["granted"; 4]),
    // L2, and L5, whose `sub` names the parent: the job's project is known, and another's code runs in it
    (
        "gitlab-fork-merge-request-18.4",
        ["fork_not_allowed", "branch_not_allowed", "fork_not_allowed", "granted"],
    ),
    (
        "gitlab-fork-merge-request-19.2",
        ["fork_not_allowed", "branch_not_allowed", "fork_not_allowed", "granted"],
    ),
    (
        "gitlab-fork-merge-request-job-project-sub",
        ["fork_not_allowed", "branch_not_allowed", "fork_not_allowed", "granted"],
    ),
    // L3: nothing says whose code it is
    ("gitlab-fork-merge-request-before-18.2.2", ["fork_not_allowed"; 4]),
    // L4: only the fork is named
    ("gitlab-fork-merge-request-18.2.2", ["no_policy"; 4]),
];

/// A sample as a token of this moment and this issuer; nothing is added to what it says about the job.
fn sampled(world: &World, name: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let file = samples().join(format!("{name}.json"));
    let mut claims: Value = serde_json::from_slice(&std::fs::read(&file).with_context(|| name.to_owned())?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for (claim, value) in [
        ("iss", json!(world.issuer.issuer(Provider::GitLab))),
        ("jti", json!(uuid::Uuid::new_v4())),
        ("iat", json!(now)),
        ("nbf", json!(now - 5)),
        ("exp", json!(now + 3600)),
    ] {
        claims[claim] = value;
    }
    change(&mut claims);
    world.issuer.mint(&TokenRequest::gitlab().payload(claims.to_string()))
}

fn samples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pg_lpm/core/tests/fixtures/claims")
}

/// Four vaults of `my-group/my-project`: for `main` without and with forks, for every branch without and with forks.
async fn vaults(world: &World) -> Result<Vec<String>> {
    let mut vaults = Vec::new();
    for (branches, forks) in
        [(json!(["main"]), false), (json!(["main"]), true), (json!([]), false), (json!([]), true)]
    {
        let policy = json!({"provider": "gitlab", "subject": "project:my-group/my-project", "allowedBranches": branches, "allowForks": forks});
        let vault_id = world.vault_with(&world.alice, &policy).await?;
        vaults.push(vault_id);
    }
    Ok(vaults)
}

async fn answer(world: &World, token: String, vault_id: &str) -> Result<String> {
    let body = json!({"oidcToken": token, "vaultId": vault_id, "env": "production"});
    let reply = world.gateway.post(PULL, None, &body).await?;
    Ok(if reply.status.as_u16() == 200 { "granted".to_owned() } else { reply.code() })
}

#[tokio::test]
async fn p17_every_generation_of_gitlabs_fork_pipelines_is_told_apart() -> Result<()> {
    let world = World::new().await?;
    let vaults = vaults(&world).await?;
    for (name, expected) in GITLAB_SAMPLES {
        for (at, (vault_id, expected)) in vaults.iter().zip(expected).enumerate() {
            let token = sampled(&world, name, |_| ())?;
            assert_eq!(answer(&world, token, vault_id).await?, expected, "P17 {name}, policy {at}");
        }
    }
    let there: BTreeSet<String> = std::fs::read_dir(samples())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().trim_end_matches(".json").to_owned()))
        .filter(|name: &Result<String>| name.as_ref().is_ok_and(|name| name.starts_with("gitlab")))
        .collect::<Result<_>>()?;
    let tried = GITLAB_SAMPLES.map(|(name, _)| name.to_owned());
    assert_eq!(there, BTreeSet::from(tried), "P17: every sample is tried");
    Ok(())
}

#[tokio::test]
async fn p17_an_old_gitlab_that_is_trusted_all_the_same_lets_no_merge_request_in() -> Result<()> {
    let world = World::new().await?;
    let vaults = vaults(&world).await?;
    // a push of a server that does not send `job_project_id` yet
    let old = |claims: &mut Value| {
        for claim in ["job_project_id", "job_project_path", "job_namespace_id", "job_namespace_path"] {
            claims.as_object_mut().map(|claims| claims.remove(claim));
        }
    };
    let token = sampled(&world, "gitlab-push", old)?;
    assert_eq!(answer(&world, token, &vaults[0]).await?, "fork_not_allowed", "P17: not declared");
    world.stack.database().value(&format!(
        "select lpm.trust_issuer('gitlab', '{}', allow_private_addresses => true, without_job_project => true)",
        world.issuer.issuer(Provider::GitLab)
    ))?;
    for (source, expected) in [
        ("push", "granted"),
        ("web", "granted"),
        ("schedule", "granted"),
        ("api", "granted"),
        ("trigger", "granted"),
        ("merge_request_event", "fork_not_allowed"),
        ("external_pull_request_event", "fork_not_allowed"),
        ("parent_pipeline", "fork_not_allowed"),
        ("pipeline", "fork_not_allowed"),
        ("security_orchestration_policy", "fork_not_allowed"),
        ("", "event_not_allowed"),
    ] {
        let token = sampled(&world, "gitlab-push", |claims| {
            old(claims);
            claims["pipeline_source"] = json!(source);
        })?;
        assert_eq!(answer(&world, token, &vaults[0]).await?, expected, "P17 `{source}`");
    }
    for vault_id in &vaults {
        let token = sampled(&world, "gitlab-fork-merge-request-before-18.2.2", |_| ())?;
        assert_eq!(answer(&world, token, vault_id).await?, "fork_not_allowed", "P17 L3");
        let token = sampled(&world, "gitlab-fork-merge-request-18.2.2", |_| ())?;
        assert_eq!(answer(&world, token, vault_id).await?, "no_policy", "P17 L4");
    }
    // one differing project is enough, whichever of the three it is
    for (name, claim) in [("L2", "project_id"), ("L6", "source_project_id"), ("L6", "job_project_id")] {
        let token = sampled(&world, "gitlab-push", |claims| claims[claim] = json!("991"))?;
        assert_ne!(answer(&world, token, &vaults[0]).await?, "granted", "P17 {name} {claim}");
    }
    Ok(())
}
