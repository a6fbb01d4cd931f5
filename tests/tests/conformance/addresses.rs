//! Section 0.1: addresses that are joined as text, and ids that nobody has encoded.

use crate::world::World;
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::published::Pushed;
use lpm_tests::raw_http::RawHttp;

#[tokio::test]
async fn a_registry_address_that_ends_with_a_slash_works_for_every_request_without_a_redirect() -> Result<()>
{
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let client = carol.client.based_at(format!("{}/", world.stack.gateway.url()));
    assert_eq!(client.push("v", &carol.sealed(None)?).await?.0, Ok(Pushed::of(1, "created")));
    assert!(client.pull("v").await?.0.is_ok());
    assert_eq!(client.list().await?.0.map(|list| list.len()), Ok(1));
    assert!(client.log("v", None).await?.0.is_ok());
    assert!(client.policies("v").await?.0.is_ok());
    assert!(client.health().await?.0.is_ok());
    // what is wrong is as wrong as without the slash
    let (printed, reply) = client.pull("w").await?;
    assert_eq!((printed, reply.status.as_u16()), (Err("no vault `w` of yours".to_owned()), 404));
    let other_method = raw(&world, "PUT //api/vaults").await?;
    assert_eq!((other_method.status.as_u16(), other_method.header("allow")), (405, "GET".to_owned()));
    for target in ["GET ///api/vaults", "GET //", "GET /api//vaults", "GET //api//vaults"] {
        assert_eq!(raw(&world, target).await?.status.as_u16(), 404, "{target}");
    }
    Ok(())
}

async fn raw(world: &World, line: &str) -> Result<Reply> {
    let mut connection = RawHttp::connect(&world.stack.gateway).await?;
    connection.send(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await?;
    connection.reply().await?.context("no answer")
}

#[tokio::test]
async fn an_id_means_the_same_whether_a_client_encodes_it_or_not() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    for (id, encoded) in [
        ("vault-123", "vault%2D123"),
        ("My Vault (1)", "My%20Vault%20%281%29"),
        ("a|b^c", "a%7Cb%5Ec"),
        ("{curly}", "%7Bcurly%7D"),
        ("[square]", "%5Bsquare%5D"),
        ("quo\"te", "quo%22te"),
        ("tresor-é-€", "tresor-%C3%A9-%E2%82%AC"),
        ("50%", "50%25"),
        ("a+b&c=d", "a%2Bb%26c%3Dd"),
        ("~user@host:1,2;3", "%7Euser%40host%3A1%2C2%3B3"),
    ] {
        let (printed, reply) = carol.client.push(id, &carol.sealed(None)?).await?;
        assert_eq!(printed, Ok(Pushed::of(1, "created")), "{id}: {}", reply.text());
        let (pulled, reply) = carol.client.pull(encoded).await?;
        assert_eq!(pulled.map(|pulled| pulled.version), Ok(1), "{encoded}: {}", reply.text());
        assert_eq!(reply.member("vaultId"), id);
    }
    Ok(())
}

#[tokio::test]
async fn an_id_that_is_no_segment_reaches_no_other_route() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    // raw, as 0.28 sends them: the URL's own syntax takes them apart, and what is left is no path of ours
    let unwitnessed = lpm_tests::published::Published::at(world.stack.gateway.url());
    let client = unwitnessed.with_token(carol.client.token());
    for id in ["a/b", "a/../../../api/vaults/b/c", "", "x?y", "x#y", "..\\..\\api"] {
        let (printed, reply) = client.push(id, &carol.sealed(None)?).await?;
        assert!(printed.is_err(), "{id:?}: {}", reply.text());
        assert_eq!(reply.status.as_u16(), 404, "{id:?}: {}", reply.text());
    }
    assert_eq!(carol.client.list().await?.0.map(|list| list.len()), Ok(0));
    Ok(())
}
