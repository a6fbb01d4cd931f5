//! Guarantee 3: no secret in what database and gateway leave behind, whatever is logged.
//!
//! Everything that can be logged is. Marked secrets then go through the real programs: in good requests and in
//! bad ones, in vaults of the right form and of every wrong one. Afterwards every place where they could have
//! been left is searched, with texts planted in each that the search has to find.

mod client;
mod commands;
mod controls;
mod jobs;
mod memory;
mod payloads;
mod places;
mod requests;
mod sessions;
mod world;

use anyhow::Result;
use client::Vault;
use controls::Planted;
use places::Sampler;
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn d08_with_everything_logged_no_secret_is_left_anywhere() -> Result<()> {
    let mut world = World::verbose().await?;
    let password = world.seed.gateway_login.password.clone();
    world.markers.known("password of the gateway's login", password);
    let sampler = Sampler::start(&world).await?;
    play(&mut world, 1).await?;
    // in this round: its ciphertext, as a parameter, would be in the log many times
    let largest = Vault::opened(&mut world, "largest", "larry", b"{}").await?;
    payloads::push_the_largest(&mut world, &largest).await?;
    // a login as it is made logs no parameters; nothing may depend on that
    world.forget_the_logins_settings().await?;
    play(&mut world, 2).await?;
    payloads::pull_the_largest(&mut world, &largest).await?;

    let planted = Planted::plant(&mut world).await?;
    let search = places::search(&mut world, sampler).await?;
    println!("{search}");
    planted.check(&search)?;
    assert_eq!(search.leaks(), "");
    Ok(())
}

async fn play(world: &mut World, round: usize) -> Result<()> {
    commands::play(world, round).await?;
    requests::play(world, round).await?;
    sessions::play(world, round).await?;
    jobs::play(world, round).await?;
    payloads::play(world, round).await
}
