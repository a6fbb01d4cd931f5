//! Tenants: what an account gets at every endpoint with the ids of somebody else's vaults, orgs, policies and sessions.
//!
//! Which endpoints there are, the gateway's own `/openapi.json` says: one that is added is attacked by itself, or the
//! test names it. [`row_security`] takes the functions' own filters away and attacks again.

mod requests;
mod row_security;
mod world;

use anyhow::{Result, ensure};
use requests::Ids;
use world::World;

/// Where the answer differs from that for something that does not exist, and why it may.
const TOLD: [(&str, &str); 2] = [
    // Whoever reads a committed lpm.json knows the id already; what they are told is how to go on without it.
    ("POST /api/vault/oidc/policies", "vault_claimed"),
    ("POST /api/vault/oidc/escrow", "vault_claimed"),
];

#[tokio::test]
async fn every_endpoint_answers_a_stranger_as_if_nothing_were_there() -> Result<()> {
    let world = World::new().await?;
    let (alices, nowhere) = (world.alices.clone(), Ids::nowhere());
    let (bob, twin) = (world.stranger("bob").await?, world.stranger("bib").await?);
    let before = world.alices_rows()?;
    let met = world.walk(&bob, &alices).await?;
    let expected = world.walk(&twin, &nowhere).await?;
    ensure!(met.len() >= 45, "the endpoints were not found: {}", met.len());

    for (met, expected) in met.iter().zip(&expected) {
        assert!(!world.shows_alices(&met.text), "{}: {}", met.operation, met.text);
        let told = TOLD.iter().find(|(operation, _)| *operation == met.operation);
        match told {
            Some((_, code)) => {
                assert_eq!((met.status, met.code()), (409, (*code).to_owned()), "{}", met.text)
            }
            // what succeeds speaks of the stranger's own: other ids, other moments
            None if met.status < 400 => assert_eq!(met.status, expected.status, "{}", met.operation),
            None => assert_eq!(
                (met.status, alices.hidden(&met.text)),
                (expected.status, nowhere.hidden(&expected.text)),
                "{}",
                met.operation
            ),
        }
    }
    assert_eq!(world.alices_rows()?, before, "a stranger has changed something of alice's");
    Ok(())
}

#[tokio::test]
async fn a_member_without_the_role_gets_no_further_than_their_role() -> Result<()> {
    let world = World::new().await?;
    let developer = world.stranger("dave").await?;
    world.stack.database().value("select lpm.add_member('acme', 'dave', role => 'developer')")?;
    world.stack.database().value("select lpm.set_sharing('acme', 'maintainer')")?;
    let before = world.alices_rows()?;
    for met in world.walk(&developer, &world.alices).await? {
        let leads = [
            "PUT /api/orgs/{org}/members/{handle}",
            "DELETE /api/orgs/{org}/members/{handle}",
            "PUT /api/orgs/{org}/settings",
            "POST /api/orgs/{org}/invitations",
            "GET /api/orgs/{org}/invitations",
            "POST /api/orgs/{org}/vaults/{vault}",
        ];
        if leads.contains(&met.operation.as_str()) {
            assert_eq!(
                (met.status, met.code().as_str()),
                (403, "org_role"),
                "{}: {}",
                met.operation,
                met.text
            );
        }
        assert!(!world.shows_alices_own(&met.text), "{}: {}", met.operation, met.text);
    }
    assert_eq!(world.alices_rows()?, before, "a developer has changed something of alice's or of the org's");
    Ok(())
}
