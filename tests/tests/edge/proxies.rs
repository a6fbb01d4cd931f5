//! Whose address a request has.

use crate::site::{PULL, Site, job};
use anyhow::Result;
use reqwest::Method;

const LAST: &str =
    "select address from lpm_dashboard.audit where action = 'ci_pull' order by id desc limit 1";

async fn pull_forwarded_for(site: &Site, lines: &[&str]) -> Result<String> {
    let mut request = site.gateway.request(Method::POST, PULL).json(&site.body(&job())?);
    for line in lines {
        request = request.header("X-Forwarded-For", *line);
    }
    assert_eq!(request.send().await?.status(), 200);
    site.escrowed.database.value(LAST)
}

#[tokio::test]
async fn the_audit_has_the_address_that_a_trusted_proxy_names_and_nobody_elses() -> Result<()> {
    let behind =
        Site::new(|options| options.variable("LPM_GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8"))
            .await?;
    assert_eq!(pull_forwarded_for(&behind, &["198.51.100.1, 203.0.113.7, 10.1.2.3"]).await?, "203.0.113.7");
    assert_eq!(pull_forwarded_for(&behind, &["198.51.100.1", "2001:db8::7"]).await?, "2001:db8::7");
    assert_eq!(pull_forwarded_for(&behind, &["203.0.113.7, nonsense"]).await?, "127.0.0.1");
    assert!(behind.gateway.log().contains(r#"client.address="203.0.113.7""#), "{}", behind.gateway.log());

    let other = Site::new(|options| options.argument("--trusted-proxies=192.0.2.1")).await?;
    assert_eq!(pull_forwarded_for(&other, &["203.0.113.7"]).await?, "127.0.0.1");
    let alone = Site::new(|options| options).await?;
    assert_eq!(pull_forwarded_for(&alone, &["203.0.113.7"]).await?, "127.0.0.1");
    Ok(())
}
