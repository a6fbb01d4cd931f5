//! Changes of the trusted issuers are heard of at once where the gateway has a direct connection, also behind a pooler,
//! and whatever becomes of that connection.

use crate::site::{HASTY, PULL, Site, eventually};
use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::gateway;
use lpm_tests::pooler::Pooler;

/// The gateway's listening session.
const LISTENS: &str = "query = 'listen lpm_issuers'";

/// A gateway behind a pooler, with a direct connection for what it hears.
async fn listening() -> Result<(Site, Pooler)> {
    let cluster = cluster::Options::default().start()?;
    let home = cluster.home().to_owned();
    let mut pooler = None;
    let site = Site::of(cluster, |database, login| {
        let cluster = cluster::Cluster::attach(&home).expect("the cluster runs");
        let started = pooler.insert(Pooler::start(&cluster, login, 2).expect("PgBouncer starts"));
        gateway::Options::new(started.url(database, login))
            .variable("LPM_GATEWAY_LISTEN_DATABASE_URL", database.url_as(login))
            .argument("--database-unnamed-statements")
            .argument(HASTY)
    })
    .await?;
    eventually("it listens", async || Ok(site.count(LISTENS)? == 1)).await?;
    Ok((site, pooler.context("the pooler was started")?))
}

impl Change {
    fn sql(self, site: &Site) -> String {
        match self {
            Self::Distrust => format!("select lpm.distrust_issuer('{}')", site.issuer.url()),
            Self::Trust => format!(
                "select lpm.trust_issuer('github', '{}', allow_private_addresses => true, is_default => true)",
                site.issuer.url()
            ),
        }
    }

    /// Makes it, and returns when the gateway knows.
    async fn make(self, site: &Site) -> Result<()> {
        site.escrowed.database.value(&self.sql(site))?;
        let expected = if self == Self::Trust { 200 } else { 401 };
        eventually("the gateway knows", async || {
            let reply = site.gateway.post(PULL, None, &site.job()?).await?;
            Ok(reply.status.as_u16() == expected)
        })
        .await
        .with_context(|| format!("{self:?}"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Distrust,
    Trust,
}

/// Has the database count how often it is asked for the issuers. Statistics would come late.
async fn count_readings(site: &Site) -> Result<()> {
    let sql = "create sequence public.readings;
               create schema counted;
               alter function lpm_api.issuers() set schema counted;
               create function lpm_api.issuers() returns lpm_api.answer language plpgsql volatile security definer as $$
               begin
                   perform nextval('public.readings');
                   return counted.issuers();
               end
               $$;
               grant execute on function lpm_api.issuers() to lpm_gateway";
    Ok(site.escrowed.database.connect().await?.batch_execute(sql).await?)
}

fn readings(site: &Site) -> Result<u64> {
    let sql = "select case when is_called then last_value else 0 end from public.readings";
    Ok(site.escrowed.database.value(sql)?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_issuer_is_heard_of_and_nothing_is_asked_in_between() -> Result<()> {
    let (site, _pooler) = listening().await?;
    assert_eq!(site.gateway.post(PULL, None, &site.job()?).await?.status.as_u16(), 200);
    count_readings(&site).await?;
    let began = std::time::Instant::now();
    for change in [Change::Distrust, Change::Trust].repeat(5) {
        change.make(&site).await?;
    }
    // one for each change, and the slow reading in case one is missed
    let (asked, elapsed) = (readings(&site)?, began.elapsed().as_secs());
    assert!((10..=11 + elapsed / 30).contains(&asked), "{asked} readings in {elapsed} s");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_heard_the_issuers_are_polled_and_the_connection_comes_back() -> Result<()> {
    let (site, _pooler) = listening().await?;
    let server = site.escrowed.database.clone();
    for change in [Change::Distrust, Change::Trust] {
        let ended = format!(
            "select count(pg_terminate_backend(pid, 60000)) from pg_stat_activity where {} and {LISTENS}",
            site.mine()
        );
        assert_eq!(server.value(&ended)?, "1");
        // at once: the connection is not there again yet, or has just come
        change.make(&site).await?;
        eventually("it listens again", async || Ok(site.count(LISTENS)? == 1)).await?;
    }
    assert!(site.gateway.log().contains("they are polled meanwhile"), "{}", site.gateway.log());
    // what happened while the whole server was away is known when it is back
    site.cluster.restart()?;
    eventually("it listens again", async || Ok(site.count(LISTENS).unwrap_or_default() == 1)).await?;
    Change::Distrust.make(&site).await
}
