//! Sections 6.2 to 6.6: login, refresh, whoami, rotate, revoke.

use crate::world::{World, seen};
use anyhow::{Context, Result, ensure};
use lpm_tests::gateway::Reply;
use lpm_tests::published::{Credentials, Published, Refreshed};
use reqwest::{Method, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FINGERPRINT: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

const STATE: &str = "0123456789abcdef0123456789abcdef";

impl World {
    /// Signs in on the page; the code that reaches the waiting command line, in the first connection that it accepts.
    async fn login_code(&self, token: &str) -> Result<String> {
        let waiting = TcpListener::bind("127.0.0.1:0").await?;
        let port = waiting.local_addr()?.port();
        let page = format!("/cli/login?port={port}&state={STATE}&fp={FINGERPRINT}&dn=build%2Dbox");
        let shown = self.stack.gateway.get(&page, None).await?;
        ensure!(
            shown.status == 200 && shown.header("content-type").starts_with("text/html"),
            "{}",
            shown.text()
        );
        let form = self.stack.gateway.request(Method::POST, &page);
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        let form = form.header("sec-fetch-site", "same-origin").body(format!("token={token}"));
        let sent_back = Reply::read(form.send().await?).await?;
        ensure!(sent_back.status == 303, "{} {}", sent_back.status, sent_back.text());
        let (asked, code) = tokio::join!(follow(&sent_back), called_back(&waiting));
        asked?;
        code
    }

    /// Signs in, and exchanges the code; nothing is stored before `whoami` has answered.
    pub(crate) async fn logged_in(&self, token: &str) -> Result<(Published, Credentials)> {
        let code = self.login_code(token).await?;
        let credentials = self.nobody().log_in(&code).await?.0.map_err(anyhow::Error::msg)?;
        let client = self.nobody().with_token(&credentials.token);
        client.whoami().await?.0.map_err(anyhow::Error::msg)?;
        Ok((client, credentials))
    }
}

/// Goes where the page sends it, as a browser does.
async fn follow(reply: &Reply) -> Result<()> {
    let url = Url::parse(&reply.header("location"))?;
    ensure!(url.host_str() == Some("127.0.0.1") && url.path() == "/callback", "{url}");
    let mut browser = TcpStream::connect(("127.0.0.1", url.port().context("a port")?)).await?;
    let query = url.query().context("a query")?;
    let head = format!("GET /callback?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", url.authority());
    browser.write_all(head.as_bytes()).await?;
    Ok(browser.read_to_end(&mut Vec::new()).await.map(drop)?)
}

/// Accepts exactly one connection, reads 8 KiB at most, and takes the code where the state is the right one.
async fn called_back(waiting: &TcpListener) -> Result<String> {
    let (mut connection, _) = waiting.accept().await?;
    let mut request = vec![0; 8 * 1024];
    let read = connection.read(&mut request).await?;
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let target = request.split(' ').nth(1).context("a target")?;
    let query = target.strip_prefix("/callback?").context("the callback")?;
    let member = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    ensure!(member("state") == Some(STATE), "{target}");
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
    member("code").map(str::to_owned).context("a code")
}

#[tokio::test]
async fn a_login_is_one_that_pairs_and_refreshes() -> Result<()> {
    let world = World::new().await?;
    let (client, credentials) = world.logged_in(&world.stack.seed.alice).await?;
    assert!(credentials.refreshes(), "{:?}", credentials.expires_at);
    assert!(client.list().await?.0.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_code_that_does_not_hold_ends_the_login_with_the_reason() -> Result<()> {
    let world = World::new().await?;
    let code = world.login_code(&world.stack.seed.alice).await?;
    assert!(world.nobody().log_in(&code).await?.0.is_ok());
    for wrong in [code.as_str(), "", "c1", &code[..code.len() - 1]] {
        let (printed, reply) = world.nobody().log_in(wrong).await?;
        assert_eq!(seen(&reply), (401, "login_code_invalid".to_owned()));
        let expected = "registry error: Failed to exchange authorization code: the login code is unknown, used or \
                        expired. It may have expired — please try again.";
        assert_eq!(printed, Err(expected.to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn a_refresh_gives_all_three_and_only_an_ended_session_wipes_what_is_stored() -> Result<()> {
    let world = World::new().await?;
    let (client, mut stored) = world.logged_in(&world.stack.seed.alice).await?;
    // the fingerprint of one machine differs between its shells
    for fingerprint in [FINGERPRINT, &"b1".repeat(32), ""] {
        let (refreshed, reply) = world.nobody().refresh(&stored, fingerprint).await?;
        let Refreshed::Renewed(renewed) = refreshed else { panic!("{}", reply.text()) };
        assert!(renewed.refreshes() && renewed.token != stored.token);
        for member in ["refreshToken", "expiresAt"] {
            assert!(!reply.member(member).is_empty(), "{}", reply.text());
        }
        assert!(world.nobody().with_token(&renewed.token).list().await?.0.is_ok());
        stored = renewed;
    }
    world.sql("select lpm.revoke_tokens('alice')")?;
    let (refreshed, reply) = world.nobody().refresh(&stored, FINGERPRINT).await?;
    assert_eq!((refreshed, reply.status.as_u16()), (Refreshed::Wiped, 401));
    let (printed, _) = client.list().await?;
    assert!(printed.is_err_and(|message| message.contains("run `lpm login`")));
    let invented = Credentials { refresh_token: Some("rt1".to_owned()), ..stored };
    assert_eq!(world.nobody().refresh(&invented, FINGERPRINT).await?.0, Refreshed::Wiped);
    Ok(())
}

#[tokio::test]
async fn whoami_has_no_null_where_a_list_must_be() -> Result<()> {
    let world = World::new().await?;
    let (carol, alice) = (world.person("carol", "pro").await?, world.alice()?);
    let known = carol.client.whoami().await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!(known.plan_tier.as_deref(), Some("pro"));
    assert_eq!(known.profile_username.as_deref(), Some("carol"));
    assert!(known.organizations.is_empty() && known.available_scopes.contains(&"carol".to_owned()));
    let usage = known.usage.context("usage")?;
    assert_eq!((usage.storage_bytes, usage.private_packages), (0, 0));
    // 0 means unlimited; in snake case it would be ignored
    let limits = known.limits.context("limits")?;
    assert_eq!((limits.storage_bytes, limits.private_packages), (Some(0), Some(0)));

    carol.has_pushed("v").await?;
    let known = carol.client.whoami().await?.0.map_err(anyhow::Error::msg)?;
    assert!(known.usage.is_some_and(|usage| usage.storage_bytes > 100));
    let known = alice.client.whoami().await?.0.map_err(anyhow::Error::msg)?;
    let orgs: Vec<_> =
        known.organizations.iter().map(|org| (org.slug.as_str(), org.role.as_deref())).collect();
    assert_eq!(orgs, [("acme", Some("admin"))]);
    Ok(())
}

#[tokio::test]
async fn whoever_is_not_known_is_asked_to_authenticate() -> Result<()> {
    let world = World::new().await?;
    for client in [world.nobody().clone(), world.nobody().with_token("lpm_pat_mistyped")] {
        for (printed, reply) in [
            client.whoami().await.map(|(printed, reply)| (printed.map(drop), reply))?,
            client.rotate().await.map(|(printed, reply)| (printed.map(drop), reply))?,
            client.revoke().await?,
        ] {
            assert_eq!((printed, reply.status.as_u16()), (Err("authentication required".to_owned()), 401));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_rotated_token_replaces_the_old_one() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let (token, date) = carol.client.rotate().await?.0.map_err(anyhow::Error::msg)?;
    assert!(date.is_some_and(|date| date.len() == 10 && date.starts_with("20")));
    assert!(carol.client.with_token(&token).list().await?.0.is_ok());
    assert_eq!(carol.client.list().await?.1.status.as_u16(), 401);
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_revoked_at_logout_is_good_for_nothing_more() -> Result<()> {
    let world = World::new().await?;
    let (client, stored) = world.logged_in(&world.stack.seed.alice).await?;
    assert_eq!(client.revoke().await?.0, Ok(()));
    // `logout --revoke` goes on with the token that it has just revoked
    let (printed, reply) = client.unpair().await?;
    assert_eq!(reply.status.as_u16(), 401);
    assert_eq!(printed, Err(format!("unpair failed: {}", reply.text())));
    assert_eq!(world.nobody().refresh(&stored, FINGERPRINT).await?.0, Refreshed::Wiped);
    assert!(world.alice()?.client.list().await?.0.is_ok(), "the token that signed in stays");
    Ok(())
}
