//! A clock is set by an hour: the database's or the gateway's, forwards or backwards, under pulls.

use crate::site::{HASTY, PULL, Site};
use anyhow::{Context, Result};
use lpm_tests::clock::Clock;
use lpm_tests::cluster;
use lpm_tests::escrowed::code;
use lpm_tests::gateway;
use lpm_tests::issuer::TokenRequest;
use lpm_tests::load::{Load, REPOSITORY};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// A site whose server and gateway each go by a clock of their own.
struct Clocks {
    site: Site,
    database: Clock,
    gateway: Clock,
}

impl Clocks {
    async fn new() -> Result<Self> {
        let (database, gateway) = (Clock::new()?, Clock::new()?);
        let cluster = cluster::Options::default().launcher(database.launcher()).start()?;
        let site = Site::of(cluster, |database, login| {
            let options = gateway::Options::new(database.url_as(login)).argument(HASTY);
            gateway
                .variables(true)
                .into_iter()
                .fold(options, |options, (name, value)| options.variable(name, value))
        })
        .await?;
        Ok(Self { site, database, gateway })
    }

    /// Status and machine code of a pull in one step.
    async fn pull(&self, token: &str) -> Result<(u16, String)> {
        let job = json!({ "oidcToken": token, "vaultId": self.site.vault_id, "env": "production" });
        let reply = self.site.gateway.post(PULL, None, &job).await?;
        Ok((reply.status.as_u16(), reply.code()))
    }

    /// A token that was issued so many seconds ago, for five minutes.
    fn token(&self, age: u64) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - age;
        let request = TokenRequest::github().repository(REPOSITORY);
        self.site.issuer.mint(&request.claim("iat", now).claim("nbf", now).claim("exp", now + 300))
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const HOUR: u64 = 60 * 60;

/// What a client may be told while one of the clocks is wrong.
const WHILE_WRONG: &[&str] = &["token_expired", "token_not_yet_valid", "ci_token_invalid", "not_openable"];

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_an_hour_breaks_nothing_for_longer_than_it_is_wrong() -> Result<()> {
    let clocks = Clocks::new().await?;
    let load =
        Load::tolerating(&clocks.site.gateway, &clocks.site.issuer, &clocks.site.vault_id, WHILE_WRONG);
    load.goes_well(5).await?;
    let refused = [
        ("the gateway's, forwards", &clocks.gateway, "+1h", Some("token_expired")),
        ("the gateway's, backwards", &clocks.gateway, "-1h", Some("token_not_yet_valid")),
        ("the database's, forwards", &clocks.database, "+1h", Some("token_expired")),
        // an hour is left to every token: nobody has to be refused for that
        ("the database's, backwards", &clocks.database, "-1h", None),
    ];
    for (case, clock, offset, expected) in refused {
        let before = expected.map_or(0, |code| load.answered_with(code));
        clock.show(offset)?;
        match expected {
            Some(code) => {
                load.until(case, |met| met.denials > 20).await?;
                assert!(load.answered_with(code) > before, "{case}: nobody was told {code}");
                let sent = clocks.pull(&clocks.token(0)?).await?;
                assert_eq!(sent, (401, code.to_owned()), "{case}");
            }
            None => load.goes_well(5).await.context(case)?,
        }
        clock.show("+0")?;
        load.goes_well(5).await.with_context(|| format!("{case}, and right again"))?;
    }
    println!("clocks set: {}", clocks.site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_by_either_clock_is_over() -> Result<()> {
    let clocks = Clocks::new().await?;
    let site = &clocks.site;

    // a token that expired an hour ago, shown to a gateway whose clock is an hour slow
    clocks.gateway.show("-1h")?;
    assert_eq!(
        clocks.pull(&clocks.token(HOUR + 60)?).await?,
        refused(401, "token_expired"),
        "a slow gateway"
    );
    clocks.gateway.show("+0")?;

    // a token that was used, and a database that cleaned up while its clock was fast
    let used = clocks.token(0)?;
    assert_eq!(clocks.pull(&used).await?, (200, String::new()));
    clocks.database.show("+1h")?;
    site.escrowed.database.value("select lpm.remove_expired()")?;
    clocks.database.show("+0")?;
    assert_eq!(
        clocks.pull(&used).await?,
        refused(403, "replayed"),
        "after the database cleaned up too early"
    );

    // a token between exchange and pull lives for five minutes, however the clock is set meanwhile
    for offset in ["+1h", "-1h"] {
        let job = json!({ "oidcToken": clocks.token(0)?, "vaultId": site.vault_id, "env": "production" });
        let token = site.gateway.post("/api/vault/oidc", None, &job).await?.member("token");
        clocks.database.show(offset)?;
        let path = format!("/api/vaults/{}/ci-pull?env=production", site.vault_id);
        let reply = site.gateway.get(&path, Some(&token)).await?;
        assert_eq!((reply.status.as_u16(), reply.code()), refused(401, "ci_token_invalid"), "{offset}");
        clocks.database.show("+0")?;
    }

    // a grant is opened at once or never
    let client = site.escrowed.gateway().await?;
    let vault_id = site.escrowed.vault(&client).await?;
    for offset in ["+1h", "-1h"] {
        let request = Uuid::now_v7();
        assert_eq!(site.escrowed.decide(&client, request, &vault_id, "main").await?.0, 200, "{offset}");
        clocks.database.show(offset)?;
        let opened = code(site.escrowed.open(&client, request).await?);
        assert_eq!(opened, (403, "not_openable".to_owned()), "{offset}");
        clocks.database.show("+0")?;
    }
    Ok(())
}
