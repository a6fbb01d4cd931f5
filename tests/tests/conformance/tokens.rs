//! Sections 6.9 and 7: health, and what is not offered.

use crate::world::World;
use anyhow::Result;

#[tokio::test]
async fn the_server_is_healthy_for_whoever_asks() -> Result<()> {
    let world = World::new().await?;
    let (printed, reply) = world.nobody().health().await?;
    assert_eq!((printed, reply.status.as_u16()), (Ok(()), 200));
    Ok(())
}
