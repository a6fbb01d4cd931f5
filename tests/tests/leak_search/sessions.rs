//! Signing in, sessions and pairing, as they should go and as they should not. Nobody but their holders may ever see a
//! personal access token from the form, a login code, or a session's tokens.

use crate::world::World;
use anyhow::{Context, Result, ensure};
use lpm_tests::gateway::Reply;
use lpm_tests::signin::{Session, SignIn, code_in, with_form};
use reqwest::Method;
use serde_json::{Value, json};

/// A point of P-256, and the form of a wrapping key that was sealed for another.
const POINT: &str =
    "BFkat3HrvP1tnLkJTRBlKK3Rpp1EwsH2J/CJ7Fi5xhrfn05qvw0EXAxpOjxorXyXynK+ZN70om/s0mPdmKkngPA=";
const SEALED: &str = "AAECAwQFBgcICQoL:W9QRD+pM+pW3YUjuXiAqSyWWs5c1n2cvnvPAnDV7UUVMWaflITY88hK+KRqtBXgb";

pub(crate) async fn play(world: &mut World, round: usize) -> Result<()> {
    let token = world.token(&format!("sina-{round}"))?;
    page(world, &token).await?;
    let (machine, browser) = (session(world, &token).await?, session(world, &token).await?);
    refreshes(world, &machine).await?;
    pairing(world, &machine, &browser).await?;
    tokens(world, &token).await
}

/// Sends the page's form and closes the connection, which would rightly keep its last request.
async fn submit(world: &World, token: &str) -> Result<Reply> {
    let request = world.gateway.request(Method::POST, &SignIn::default().path());
    let request = request.header("connection", "close").header("sec-fetch-site", "same-origin");
    Reply::read(with_form(request, token).send().await?).await
}

async fn page(world: &mut World, token: &str) -> Result<()> {
    let pasted = world.markers.secret("what was pasted into the form");
    for (case, typed, status) in [
        ("prose", pasted.clone(), 403),
        ("markup", format!("<b>{pasted}</b>"), 403),
        ("a token and more", format!("{token}x"), 403),
        ("a token that is cut", token[..token.len() - 1].to_owned(), 403),
        ("more than fits", pasted.repeat(200), 413),
    ] {
        let reply = submit(world, &typed).await?;
        ensure!(reply.status.as_u16() == status, "{case}: {}", reply.status);
        ensure!(!reply.text().contains(&pasted) && !reply.text().contains(token), "{case} is repeated");
    }
    // from another site, and in the address
    let request =
        world.gateway.request(Method::POST, &SignIn::default().path()).header("connection", "close");
    let refused = Reply::read(with_form(request, token).send().await?).await?;
    ensure!(refused.status == 400, "from elsewhere: {}", refused.status);
    let path = format!("{}&token={token}", SignIn::default().path());
    let shown =
        Reply::read(world.gateway.request(Method::GET, &path).header("connection", "close").send().await?);
    ensure!(!shown.await?.text().contains(token), "the page repeats its address");
    Ok(())
}

/// A login, with everything that its holder gets of it.
async fn session(world: &mut World, token: &str) -> Result<Session> {
    let reply = submit(world, token).await?;
    let code = code_in(&reply.header("location")).context("the browser gets no code")?;
    world.markers.known("login code", code.as_bytes());
    let body = json!({"code": code}).to_string();
    let session = keep(world, &world.post("/api/cli/exchange", None, body.clone()).await?)?;
    let again = world.post("/api/cli/exchange", None, body).await?;
    ensure!(again.status == 401, "a code twice: {}", again.text());
    Ok(session)
}

fn keep(world: &mut World, reply: &Reply) -> Result<Session> {
    let session = Session::of(reply)?;
    world.markers.known("access token", session.token.as_bytes());
    world.markers.known("refresh token", session.refresh.as_bytes());
    Ok(session)
}

async fn refresh(world: &World, session: &Session) -> Result<Reply> {
    world.post("/api/cli/refresh", None, json!({"refreshToken": session.refresh}).to_string()).await
}

async fn refreshes(world: &mut World, first: &Session) -> Result<()> {
    let second = refresh(world, first).await?;
    let second = keep(world, &second)?;
    let sibling = refresh(world, first).await?;
    keep(world, &sibling)?;
    for spoiled in [format!("{}x", second.refresh), second.token.clone()] {
        let other = Session { refresh: spoiled, ..second.clone() };
        ensure!(refresh(world, &other).await?.status == 401, "a token that is none");
    }
    Ok(())
}

async fn pairing(world: &mut World, machine: &Session, browser: &Session) -> Result<()> {
    let post =
        async |path: &str, token: &str, body: Value| world.post(path, Some(token), body.to_string()).await;
    let started = post("/api/vault/pair", &browser.token, json!({"browserPublicKey": POINT})).await?;
    ensure!(started.status == 201, "start: {}", started.text());
    let path = format!("/api/vault/pair/{}", started.member("code"));
    let sealed = json!({"encryptedWrappingKey": SEALED, "ephemeralPublicKey": POINT});
    for expected in [200, 410] {
        let approved = post(&path, &machine.token, sealed.clone()).await?;
        ensure!(approved.status.as_u16() == expected, "approve: {}", approved.text());
    }
    let read = post(&format!("{path}/consume"), &browser.token, json!({})).await?;
    ensure!(read.member("status") == "approved", "{}", read.text());
    let ended = post("/api/vault/pair/revoke-all", &machine.token, json!({})).await?;
    ensure!(ended.status == 200, "{}", ended.text());
    Ok(())
}

async fn tokens(world: &mut World, token: &str) -> Result<()> {
    let mut successor = String::new();
    // the second time as whoever lost the answer
    for _ in 0..2 {
        let rotated = world.post("/api/registry/-/token/rotate", Some(token), "{}").await?;
        ensure!(rotated.status == 200, "rotate: {}", rotated.text());
        successor = rotated.member("token");
        world.markers.known("successor", successor.as_bytes());
    }
    let body = json!({"token": successor}).to_string();
    let revoked = world.post("/api/registry/tokens/revoke", Some(&successor), body).await?;
    ensure!(revoked.status == 200, "revoke: {}", revoked.text());
    Ok(())
}
