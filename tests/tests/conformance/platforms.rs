//! Section 7: platforms, which are not offered.

use crate::world::{World, seen};
use anyhow::Result;

#[tokio::test]
async fn platforms_are_refused_with_the_reason_and_nothing_of_what_was_sent_is_kept() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let secret = "sk-plaintext-marker-4711";
    let expected = "platforms are not offered here, because they would send plaintext secrets to the server";
    for client in [&carol.client, world.nobody()] {
        for (printed, reply) in [
            client.connect("v").await?,
            client.push_to_platform("v", secret).await?,
            client.pull_from_platform("v").await?,
            client.platform_status("v", secret).await?,
        ] {
            assert_eq!(printed, Err(expected.to_owned()));
            assert_eq!(seen(&reply), (501, "not_implemented".to_owned()));
            assert!(!reply.text().contains(secret));
        }
    }
    assert!(!world.stack.gateway.log().contains(secret));
    Ok(())
}
