//! Section 3: sharing with an org.

use crate::world::{PAYLOAD, Person, World, seen};
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::published::crypto::{self, MemberPair};
use lpm_tests::published::{Printed, Pushed, Recipient, recipients};
use lpm_tests::stack::ORG;

/// A member of the org with a key pair of their own.
struct Member {
    person: Person,
    pair: MemberPair,
}

impl World {
    /// A new account in the org.
    async fn member(&self, handle: &str, role: &str) -> Result<Member> {
        let person = self.person(handle, "free").await?;
        self.sql(&format!("select lpm.add_member('{ORG}', '{handle}', role => '{role}')"))?;
        Ok(Member { person, pair: MemberPair::new()? })
    }

    async fn alice_with_a_key(&self) -> Result<Member> {
        let member = Member { person: self.alice()?, pair: MemberPair::new()? };
        member.registers().await?;
        Ok(member)
    }
}

impl Member {
    /// 3.1, and 3.2 where the server's key is not the machine's.
    async fn registers(&self) -> Result<()> {
        let own = self.pair.public_key()?;
        let known = self.person.client.public_key().await?.0.map_err(anyhow::Error::msg)?;
        if known.as_deref() != Some(own.as_str()) {
            assert_eq!(self.person.client.upload_public_key(&own).await?.0, Ok(()));
        }
        Ok(())
    }

    /// `share --org`: 3.1, 3.2, 3.3, 3.4, with a fresh key.
    async fn shares(&self, vault: &str, expected: Option<i32>) -> Result<(Printed<Pushed>, Reply)> {
        self.registers().await?;
        let aes_key = crypto::random::<32>()?;
        let members = self.person.client.members(ORG).await?.0.map_err(anyhow::Error::msg)?;
        let recipients = recipients(&members, &aes_key).map_err(anyhow::Error::msg)?;
        let blob = crypto::seal(&aes_key, PAYLOAD.as_bytes())?;
        self.person.client.share(ORG, vault, &blob, &recipients, expected).await
    }

    /// `pull --org`: what it decrypts.
    async fn pulls(&self, vault: &str) -> Result<(i32, String)> {
        self.registers().await?;
        let pulled = self.person.client.org_pull(ORG, vault).await?.0.map_err(anyhow::Error::msg)?;
        let aes_key = self.pair.unwrap(&pulled.wrapped_key)?;
        Ok((pulled.version, String::from_utf8(crypto::open(&aes_key, &pulled.encrypted_blob)?)?))
    }
}

#[tokio::test]
async fn a_key_is_registered_once_and_overwritten_by_another_machines() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "free").await?;
    assert_eq!(carol.client.public_key().await?.0, Ok(None));
    for _ in 0..2 {
        let key = MemberPair::new()?.public_key()?;
        assert_eq!(carol.client.upload_public_key(&key).await?.0, Ok(()));
        assert_eq!(carol.client.public_key().await?.0, Ok(Some(key)));
    }
    let kept = carol.client.public_key().await?.0;
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for wrong in ["AAAA", "", "no base64", "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk", zero] {
        let (printed, reply) = carol.client.upload_public_key(wrong).await?;
        assert_eq!(reply.status.as_u16(), 400, "{wrong}: {}", reply.text());
        assert_eq!(printed, Err(format!("failed to upload public key: {}", reply.text())));
    }
    assert_eq!(carol.client.public_key().await?.0, kept);
    // no success is no key
    assert_eq!(world.nobody().public_key().await?.0, Ok(None));
    assert_eq!(world.nobody().upload_public_key(zero).await?.1.status.as_u16(), 401);
    Ok(())
}

#[tokio::test]
async fn whoever_registers_is_in_the_list_at_once() -> Result<()> {
    let world = World::new().await?;
    let dave = world.member("dave", "developer").await?;
    let alice = world.alice_with_a_key().await?;
    let listed = alice.person.client.members(ORG).await?.0.map_err(anyhow::Error::msg)?;
    let mut seen: Vec<_> = listed
        .iter()
        .map(|member| (member.role.as_str(), member.has_public_key, member.public_key.is_some()))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("admin", true, true), ("developer", false, false)]);
    dave.registers().await?;
    let listed = dave.person.client.members(ORG).await?.0.map_err(anyhow::Error::msg)?;
    let keys: Vec<_> = listed.into_iter().filter_map(|member| member.public_key).collect();
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&dave.pair.public_key()?) && keys.contains(&alice.pair.public_key()?));
    Ok(())
}

#[tokio::test]
async fn what_one_member_shares_the_others_open() -> Result<()> {
    let world = World::new().await?;
    let (alice, dave) = (world.alice_with_a_key().await?, world.member("dave", "developer").await?);
    dave.registers().await?;
    let (printed, shared) = alice.shares("v", None).await?;
    assert_eq!(printed, Ok(Pushed::of(1, "created")), "{}", shared.text());
    for member in [&alice, &dave] {
        assert_eq!(member.pulls("v").await?, (1, PAYLOAD.to_owned()));
    }
    let (printed, again) = alice.shares("v", Some(1)).await?;
    assert_eq!(printed, Ok(Pushed::of(2, "updated")), "{}", again.text());
    assert_eq!(dave.pulls("v").await?.0, 2);
    let listed = dave.person.client.org_list(ORG).await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!(
        listed.iter().map(|vault| (vault.vault_id.as_str(), vault.version)).collect::<Vec<_>>(),
        [("v", Some(2))]
    );
    assert_eq!(alice.person.client.list().await?.0, Ok(Vec::new()), "the org's vault is no personal one");

    // later clients verify these too
    let (_, pulled) = dave.person.client.org_pull(ORG, "v").await?;
    for (reply, token) in [(&shared, &alice), (&again, &alice), (&pulled, &dave)] {
        let expected = crypto::signature(token.person.client.token(), &reply.bytes)?;
        assert_eq!(reply.header("x-lpm-signature"), expected);
    }
    Ok(())
}

#[tokio::test]
async fn who_came_after_the_share_has_no_copy_and_is_told_so() -> Result<()> {
    let world = World::new().await?;
    let alice = world.alice_with_a_key().await?;
    assert!(alice.shares("v", None).await?.0.is_ok());
    let erin = world.member("erin", "developer").await?;
    let (printed, reply) = erin.person.client.org_pull(ORG, "v").await?;
    assert_eq!(reply.status.as_u16(), 200);
    assert_eq!(printed, Err("no wrappedKey in response (you may not have access)".to_owned()));
    // the next share is for the complete set of that moment, and replaces the last
    erin.registers().await?;
    assert!(alice.shares("v", Some(1)).await?.0.is_ok());
    assert_eq!(erin.pulls("v").await?.0, 2);
    world.sql(&format!("select lpm.remove_member('{ORG}', 'erin')"))?;
    let (printed, reply) = erin.person.client.org_pull(ORG, "v").await?;
    assert_eq!(seen(&reply), (404, "org_unknown".to_owned()));
    assert_eq!(printed, Err(format!("server error: {}", reply.text())));
    Ok(())
}

#[tokio::test]
async fn a_share_that_is_stale_or_not_for_everyone_it_must_be_for_is_refused() -> Result<()> {
    let world = World::new().await?;
    let (alice, dave) = (world.alice_with_a_key().await?, world.member("dave", "developer").await?);
    dave.registers().await?;
    assert!(alice.shares("v", None).await?.0.is_ok());
    for (expected, code, part) in [
        (None, "org_version_expected", "`acme` already has version 1 of this vault: pull with `--org` first"),
        (Some(7), "org_version_conflict", "the server has version 1 of this vault of `acme`, not 7"),
    ] {
        let (printed, reply) = alice.shares("v", expected).await?;
        assert_eq!(seen(&reply), (409, code.to_owned()));
        assert!(printed.is_err_and(|message| message.starts_with(part)));
    }

    let key = crypto::random::<32>()?;
    let blob = crypto::seal(&key, PAYLOAD.as_bytes())?;
    let members = alice.person.client.members(ORG).await?.0.map_err(anyhow::Error::msg)?;
    let all = recipients(&members, &key).map_err(anyhow::Error::msg)?;
    let own = alice.pair.public_key()?;
    let own = members.iter().find(|member| member.public_key.as_ref() == Some(&own)).context("alice")?;
    let without_admin: Vec<Recipient> =
        all.iter().filter(|one| one.user_id != own.user_id).cloned().collect();
    let (printed, reply) = alice.person.client.share(ORG, "v", &blob, &without_admin, Some(1)).await?;
    assert_eq!(seen(&reply), (409, "recipient_missing".to_owned()), "{printed:?}");

    let mut with_stranger = all.clone();
    with_stranger[0].user_id = uuid::Uuid::new_v4().to_string();
    let (_, reply) = alice.person.client.share(ORG, "v", &blob, &with_stranger, Some(1)).await?;
    assert_eq!(reply.status.as_u16(), 409, "{}", reply.text());

    let mut broken = all.clone();
    broken[0].wrapped_key = "AAAA:AAAA:AAAA".to_owned();
    let (printed, reply) = alice.person.client.share(ORG, "v", &blob, &broken, Some(1)).await?;
    assert_eq!(reply.status.as_u16(), 400, "{}", reply.text());
    assert!(printed.is_err_and(|message| !message.starts_with("response parse error")));
    assert_eq!(dave.pulls("v").await?, (1, PAYLOAD.to_owned()), "nothing of it was stored");
    Ok(())
}

#[tokio::test]
async fn a_stranger_gets_the_answer_of_an_org_that_does_not_exist() -> Result<()> {
    let world = World::new().await?;
    let alice = world.alice_with_a_key().await?;
    assert!(alice.shares("v", None).await?.0.is_ok());
    let mallory = world.person("mallory", "org").await?;
    let client = &mallory.client;
    let blob = crypto::seal(&[7; 32], b"{}")?;
    for org in [ORG, "nowhere", "b a", "%41cme", "acme%00", &"x".repeat(300)] {
        for reply in [
            client.members(org).await?.1,
            client.org_list(org).await?.1,
            client.org_pull(org, "v").await?.1,
            client.share(org, "v", &blob, &[], None).await?.1,
        ] {
            let (status, code) = seen(&reply);
            let expected = if org.len() > 256 || org.contains("%00") {
                (400, "bad_request")
            } else {
                (404, "org_unknown")
            };
            assert_eq!((status, code.as_str()), expected, "{org}: {}", reply.text());
            assert!(!reply.text().contains("alice"));
        }
    }
    let (printed, reply) = client.members(ORG).await?;
    assert_eq!(printed, Err(format!("failed to fetch member keys: {}", reply.text())));
    let (printed, reply) = client.org_list(ORG).await?;
    assert_eq!(printed, Err(format!("server error: {}", reply.text())));
    let (printed, _) = client.share(ORG, "v", &blob, &[], None).await?;
    assert_eq!(printed, Err("no org `acme` of yours".to_owned()));
    for reply in [world.nobody().members(ORG).await?.1, world.nobody().org_pull(ORG, "v").await?.1] {
        assert_eq!(seen(&reply), (401, "unauthorized".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn an_org_that_does_not_pay_does_not_share_and_its_vaults_stay() -> Result<()> {
    let world = World::new().await?;
    let alice = world.alice_with_a_key().await?;
    assert!(alice.shares("v", None).await?.0.is_ok());
    world.sql(&format!("select lpm.set_plan('{ORG}', 'free')"))?;
    let (printed, reply) = alice.shares("v", Some(1)).await?;
    assert_eq!(
        (printed, reply.status.as_u16()),
        (Err("Vault sync requires a Pro or Org plan".to_owned()), 403)
    );
    world.sql(&format!("select lpm.set_plan('{ORG}', 'org')"))?;
    assert_eq!(alice.pulls("v").await?.0, 1);
    Ok(())
}

#[tokio::test]
async fn published_escrow_of_an_orgs_vault_says_what_to_run_instead() -> Result<()> {
    let world = World::new().await?;
    let alice = world.alice_with_a_key().await?;
    assert!(alice.shares("v", None).await?.0.is_ok());
    let (printed, reply) = alice.person.client.escrow("v", &[7; 32]).await?;
    assert_eq!(seen(&reply), (409, "escrow_org_vault".to_owned()), "{printed:?}");
    assert!(reply.member("hint").contains("lpm env oidc allow --org acme"), "{}", reply.text());
    Ok(())
}
