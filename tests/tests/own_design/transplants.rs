//! Ciphertext under attack: a stolen developer token can pull and push, but not move one vault's ciphertext
//! to where CI would open it.

use crate::{NONE, World};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_tests::escrowed::{Escrowed, answer, code};
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// What a pull returns of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ciphertext {
    blob: String,
    wrapped: String,
}

impl Ciphertext {
    /// What whoever holds the token pulls.
    async fn of(world: &World, who: &Escrowed, vault_id: &str) -> Result<Self> {
        let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &who.token, &vault_id];
        let (status, body) = answer(&world.client, "pull", &asked).await?;
        let text = |name: &str| body[name].as_str().map(str::to_owned).context(status);
        Ok(Self { blob: text("encryptedBlob")?, wrapped: text("wrappedKey")? })
    }

    /// Pushes it by force.
    async fn push(&self, world: &World, who: &Escrowed, vault_id: &str) -> Result<(i32, Value)> {
        let asked: [&(dyn ToSql + Sync); 10] = [
            &Uuid::now_v7(),
            &NONE,
            &who.token,
            &vault_id,
            &self.blob,
            &self.wrapped,
            &None::<i32>,
            &true,
            &NONE,
            &NONE,
        ];
        answer(&world.client, "push", &asked).await
    }

    /// The blob with one byte of `part` (0: IV, 1: ciphertext) changed.
    fn with_changed_byte(&self, part: usize, at: impl Fn(usize) -> usize) -> Result<Self> {
        let mut parts: Vec<Vec<u8>> =
            self.blob.split(':').map(|part| STANDARD.decode(part)).collect::<Result<_, _>>()?;
        let at = at(parts[part].len());
        parts[part][at] ^= 1;
        let parts: Vec<String> = parts.iter().map(|part| STANDARD.encode(part)).collect();
        Ok(Self { blob: parts.join(":"), ..self.clone() })
    }
}

/// alice's vault without CI, and the one that CI opens.
async fn two_vaults(world: &World) -> Result<(String, String)> {
    let secret = Uuid::new_v4().to_string();
    world.alice.push(&world.client, &secret).await?;
    Ok((secret, world.alice.vault(&world.client).await?))
}

#[tokio::test]
async fn ciphertext_that_belongs_elsewhere_is_refused_under_every_owner_and_id() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let (secret, open) = two_vaults(&world).await?;
    let hers = mallory.vault(&world.client).await?;
    let stolen = Ciphertext::of(&world, &world.alice, &secret).await?;
    let of_ci = Ciphertext::of(&world, &world.alice, &open).await?;
    let rows = "select md5(string_agg(v::text, ' ' order by id)) from lpm.vault_sync v";
    let before = world.value(rows)?;
    for (case, ciphertext, who, vault_id) in [
        ("to the escrowed vault of the same account", &stolen, &world.alice, open.as_str()),
        ("to a new id of the same account", &stolen, &world.alice, "new-id"),
        ("to the escrowed vault of another account", &stolen, &mallory, &hers),
        ("to another account's row of the same id", &stolen, &mallory, &secret),
        ("to a new id of another account", &stolen, &mallory, "new-id"),
        ("from the escrowed vault to the other one", &of_ci, &world.alice, &secret),
        ("from the escrowed vault to another account", &of_ci, &mallory, &hers),
    ] {
        for again in ["", ", and again"] {
            let met = ciphertext.push(&world, who, vault_id).await?;
            assert_eq!(code(met), (409, "blob_known".to_owned()), "{case}{again}");
        }
        let denials = format!(
            "select count(*) from lpm.audit_log where reason = 'blob_known' and vault_id = '{vault_id}'"
        );
        assert_ne!(world.value(&denials)?, "0", "{case}: audited");
    }
    assert_eq!(world.value(rows)?, before, "nothing was stored");
    assert_eq!(world.value("select count(*) from lpm.vault_claim where vault_id = 'new-id'")?, "0");
    let own = stolen.push(&world, &world.alice, &secret).await?;
    assert_eq!(own.0, 200, "where it belongs it may be pushed again");
    world.serves(world.job(), &open).await?;
    world.serves(world.job(), &hers).await
}

#[tokio::test]
async fn ciphertext_stays_known_when_everything_else_has_forgotten_it() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let bob = world.alice.account("bob", "pro")?;
    let open = mallory.vault(&world.client).await?;
    for (case, forget) in [
        ("the version is no longer kept", "delete from lpm.vault_version returning 1"),
        ("the vault was deleted", "select lpm.delete_vault('VAULT', owner => 'bob')"),
        ("the id went to someone else", "select lpm.transfer_vault('VAULT', 'mallory')"),
        ("what had expired was removed", "select lpm.remove_expired()"),
        ("the account is gone", "select lpm.drop_user('bob')"),
    ] {
        let secret = Uuid::new_v4().to_string();
        bob.push(&world.client, &secret).await?;
        let stolen = Ciphertext::of(&world, &bob, &secret).await?;
        for _ in 0..11 {
            bob.push_expecting(&world.client, &secret, None, true).await?;
        }
        world.value(&forget.replace("VAULT", &secret))?;
        for vault_id in [&open, &secret] {
            let met = stolen.push(&world, &mallory, vault_id).await?;
            assert_eq!(code(met), (409, "blob_known".to_owned()), "{case}");
        }
    }
    world.serves(world.job(), &open).await
}

#[tokio::test]
async fn changed_ciphertext_is_accepted_as_new_and_opens_for_nobody() -> Result<()> {
    let world = World::new().await?;
    let (secret, open) = two_vaults(&world).await?;
    let own = Ciphertext::of(&world, &world.alice, &open).await?;
    let stolen = Ciphertext::of(&world, &world.alice, &secret).await?;
    let mixed = |blob: &Ciphertext, wrapped: &Ciphertext| Ciphertext {
        blob: blob.blob.clone(),
        wrapped: wrapped.wrapped.clone(),
    };
    let cut = stolen.blob.split_once(':').map(|(iv, sealed)| {
        let bytes = STANDARD.decode(sealed).unwrap_or_default();
        format!("{iv}:{}", STANDARD.encode(&bytes[..bytes.len() - 1]))
    });
    for (case, ciphertext) in [
        ("the first byte of the IV", stolen.with_changed_byte(0, |_| 0)?),
        ("the first byte", stolen.with_changed_byte(1, |_| 0)?),
        ("a byte in the middle", stolen.with_changed_byte(1, |length| length / 2)?),
        ("the last byte of the tag", stolen.with_changed_byte(1, |length| length - 1)?),
        ("one byte less", Ciphertext { blob: cut.context("a colon")?, ..stolen.clone() }),
        ("the vault's own blob, one byte changed", own.with_changed_byte(1, |_| 0)?),
        ("the vault's own blob under the other one's key", mixed(&own, &stolen)),
        (
            "the other one's blob, changed, under the vault's own key",
            mixed(&stolen.with_changed_byte(1, |_| 1)?, &own),
        ),
    ] {
        let (status, body) = ciphertext.push(&world, &world.alice, &open).await?;
        assert_eq!(status, 200, "{case}: {body}");
        let met = world.job().pull(&world.client, &open).await?;
        let trail = "ci_pull granted, ci_open failed escrow_mismatch";
        world.refused(case, &met, (409, "escrow_mismatch"), trail)?;
        assert_eq!(own.push(&world, &world.alice, &open).await?.0, 200);
        world.serves(world.job(), &open).await?;
    }
    Ok(())
}

#[tokio::test]
async fn another_spelling_of_known_ciphertext_is_no_new_ciphertext() -> Result<()> {
    let world = World::new().await?;
    let (secret, open) = two_vaults(&world).await?;
    let stolen = Ciphertext::of(&world, &world.alice, &secret).await?;
    let blob = &stolen.blob;
    assert!(blob.ends_with('='), "or there is no padding to leave out: {blob}");
    for (case, spelling) in [
        ("a space at the end", format!("{blob} ")),
        ("a line break within", format!("{}\n{}", &blob[..40], &blob[40..])),
        ("without its padding", blob.trim_end_matches('=').to_owned()),
        ("with more padding", format!("{blob}=")),
        ("a second colon", format!("{blob}:")),
    ] {
        let met = Ciphertext { blob: spelling, ..stolen.clone() }.push(&world, &world.alice, &open).await?;
        assert_eq!(code(met), (400, "blob_invalid".to_owned()), "{case}");
    }
    world.serves(world.job(), &open).await
}

#[tokio::test]
async fn a_wrapped_key_of_another_account_opens_nothing() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let (secret, _) = two_vaults(&world).await?;
    let stolen = Ciphertext::of(&world, &world.alice, &secret).await?.with_changed_byte(0, |_| 0)?;
    let vault_id = mallory.vault(&world.client).await?;
    let own = Ciphertext::of(&world, &mallory, &vault_id).await?;
    let stored = "select string_agg(md5(ci_escrow_wrapping_key), ' ' order by id) from lpm.vault_sync";
    let before = world.value(stored)?;
    for (case, blob) in
        [("with its blob, one byte changed", &stolen.blob), ("with a blob of her own", &own.blob)]
    {
        let transplant = Ciphertext { blob: blob.clone(), wrapped: stolen.wrapped.clone() };
        assert_eq!(transplant.push(&world, &mallory, &vault_id).await?.0, 200, "{case}");
        let met = world.job().pull(&world.client, &vault_id).await?;
        let trail = "ci_pull granted, ci_open failed escrow_mismatch";
        world.refused(case, &met, (409, "escrow_mismatch"), trail)?;
        let sealed = mallory.sealed(&world.client, &vault_id).await?;
        let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &mallory.token, &vault_id, &sealed];
        let met = answer(&world.client, "put_escrow", &asked).await?;
        assert_eq!(
            code(met),
            (409, "escrow_wrong_key".to_owned()),
            "{case}: nor can she escrow her own for it"
        );
        assert_eq!(world.value(stored)?, before, "{case}: the old escrow stays");
    }
    assert_eq!(own.push(&world, &mallory, &vault_id).await?.0, 200);
    world.serves(world.job(), &vault_id).await
}
