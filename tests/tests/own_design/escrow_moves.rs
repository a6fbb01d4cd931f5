//! Escrow under attack: it opens in the row, for the owner and as the kind that it was made for, and a sealed
//! one is taken for the vault that it names only.

use crate::{NONE, World};
use anyhow::{Context, Result};
use lpm_core::envelope::aead;
use lpm_core::envelope::escrow::{EscrowContext, EscrowKind, Owner, seal_escrow_random, store_escrow_random};
use lpm_core::envelope::keyring::{EscrowKey, KeyId};
use lpm_core::envelope::vault::{blob_sha256, seal_blob, wrap_key};
use lpm_core::secret::Secret;
use lpm_tests::cluster;
use lpm_tests::escrowed::{Escrowed, PAYLOAD, answer, code};
use lpm_tests::issuer::Issuer;
use lpm_tests::job::Job;
use lpm_tests::stack::{ORG, Seed};
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A server whose escrow keys are known, and a vault of alice in it whose keys are known.
struct Known {
    world: World,
    keys: [EscrowKey; 2],
    vault_id: String,
    alice: Uuid,
    org: Uuid,
    hash: [u8; 32],
    wrapping: Secret,
    aes: Secret,
    _server: (cluster::Cluster, Issuer),
}

fn key(bytes: &[u8; 32]) -> Secret {
    Secret::new(bytes.to_vec())
}

impl Known {
    async fn new() -> Result<Self> {
        let raw: [[u8; 32]; 2] = [aead::random()?, aead::random()?];
        let lines = format!("k1:{}\nk2:{}\n", hex::encode(raw[0]), hex::encode(raw[1]));
        let derived = |id: &str, raw| anyhow::Ok(EscrowKey::derive(KeyId::parse(id), raw)?);
        let keys = [derived("k1", &raw[0])?, derived("k2", &raw[1])?];
        let cluster = cluster::Options::default().escrow_keys(lines).start()?;
        let issuer = Issuer::start()?;
        let seed = Seed::create(&cluster, "known_keys", issuer.url()).await?;
        let alice = Escrowed::of(seed.database, seed.gateway_login, &seed.alice, issuer.url());
        let world = World { client: alice.gateway().await?, alice };

        let (aes, wrapping): ([u8; 32], [u8; 32]) = (aead::random()?, aead::random()?);
        let vault_id = Uuid::new_v4().to_string();
        let blob = seal_blob(&key(&aes), &aead::random()?, PAYLOAD.as_bytes())?;
        let hash = blob_sha256(&blob)?;
        let wrapped = wrap_key(&key(&wrapping), &aead::random()?, &key(&aes))?;
        let asked: [&(dyn ToSql + Sync); 10] = [
            &Uuid::now_v7(),
            &NONE,
            &world.alice.token,
            &vault_id,
            &blob,
            &wrapped,
            &None::<i32>,
            &true,
            &NONE,
            &NONE,
        ];
        assert_eq!(answer(&world.client, "push", &asked).await?.0, 201);
        world.alice.allow(&world.client, &vault_id).await?;
        // the org's copy, as a share would leave it; of another vault id, so that each has one claim
        world.alice.allow_with(&world.client, "org-vault", &json!({"scope": "org", "org": ORG})).await?;
        let org: Uuid = world.value("select id from lpm.org")?.parse()?;
        world.value(&format!(
            "insert into lpm.vault_sync (vault_id, org_id, version, encrypted_blob, blob_sha256)
             values ('org-vault', '{org}', 1, '{blob}', decode('{}', 'hex')) returning 1",
            hex::encode(hash)
        ))?;
        let alice = world.value("select id from lpm.account")?.parse()?;
        let server = (cluster, issuer);
        Ok(Self {
            world,
            keys,
            vault_id,
            alice,
            org,
            hash,
            wrapping: key(&wrapping),
            aes: key(&aes),
            _server: server,
        })
    }

    /// The context of the escrow that alice's row should have.
    fn context(&self, kind: EscrowKind) -> EscrowContext<'_> {
        EscrowContext {
            kind,
            vault_id: &self.vault_id,
            owner: Owner::User(self.alice),
            blob_hash: (kind == EscrowKind::Aes).then_some(self.hash),
        }
    }

    /// The right key, sealed for storage in this context.
    fn stored(&self, context: &EscrowContext<'_>) -> Result<String> {
        let secret = match context.kind {
            EscrowKind::Wrapping => &self.wrapping,
            EscrowKind::Aes => &self.aes,
        };
        Ok(store_escrow_random(&self.keys[0], context, secret)?)
    }

    /// Puts an escrow into a row, as whoever can write the table would.
    fn put(&self, vault_id: &str, kind: EscrowKind, escrow: &str) -> Result<()> {
        self.world.value(&format!(
            "update lpm.vault_sync set ci_escrow_wrapping_key = '{escrow}', escrow_kind = '{}' where vault_id = '{vault_id}' returning 1",
            kind.as_str()
        ))?;
        Ok(())
    }

    async fn does_not_open(&self, case: &str, vault_id: &str) -> Result<()> {
        let met = self.world.job().pull(&self.world.client, vault_id).await?;
        let trail = "ci_pull granted, ci_open failed escrow_mismatch";
        self.world.refused(case, &met, (409, "escrow_mismatch"), trail)
    }
}

#[tokio::test]
async fn a_stored_escrow_opens_in_the_context_that_it_was_made_for_and_in_no_other() -> Result<()> {
    use EscrowKind::{Aes, Wrapping};
    let known = Known::new().await?;
    let world = &known.world;
    let (wrapping, aes) = (known.context(Wrapping), known.context(Aes));
    let org_vault =
        EscrowContext { vault_id: "org-vault", owner: Owner::Org(known.org), ..known.context(Aes) };
    let mine = known.vault_id.as_str();
    for (case, row, kind, context) in [
        ("of another vault", mine, Wrapping, EscrowContext { vault_id: "other", ..wrapping }),
        (
            "of another account",
            mine,
            Wrapping,
            EscrowContext { owner: Owner::User(Uuid::new_v4()), ..wrapping },
        ),
        ("of the org", mine, Wrapping, EscrowContext { owner: Owner::Org(known.org), ..wrapping }),
        (
            "of an org with the account's uuid",
            mine,
            Wrapping,
            EscrowContext { owner: Owner::Org(known.alice), ..wrapping },
        ),
        ("bound to a blob", mine, Wrapping, EscrowContext { blob_hash: Some(known.hash), ..wrapping }),
        ("the other kind's", mine, Wrapping, aes),
        ("the other kind's, the other way round", mine, Aes, wrapping),
        ("aes, of another vault", mine, Aes, EscrowContext { vault_id: "org-vault", ..aes }),
        ("aes, of another push", mine, Aes, EscrowContext { blob_hash: Some([7; 32]), ..aes }),
        ("aes, bound to no blob", mine, Aes, EscrowContext { blob_hash: None, ..aes }),
        ("aes, of the org's row", mine, Aes, org_vault),
        ("the account's in the org's row", "org-vault", Aes, aes),
        (
            "an account's with the org's uuid",
            "org-vault",
            Aes,
            EscrowContext { owner: Owner::User(known.org), ..org_vault },
        ),
        ("another org's", "org-vault", Aes, EscrowContext { owner: Owner::Org(Uuid::new_v4()), ..org_vault }),
    ] {
        known.put(row, kind, &known.stored(&context)?)?;
        known.does_not_open(case, row).await?;
        let right = if row == mine { known.context(kind) } else { org_vault };
        known.put(row, right.kind, &known.stored(&right)?)?;
        world.serves(world.job(), row).await.with_context(|| case.to_owned())?;
    }
    // the table has no place for a machine's key in an org's row
    let machines = known.stored(&EscrowContext { kind: Wrapping, blob_hash: None, ..org_vault })?;
    let error = known.put("org-vault", Wrapping, &machines).expect_err("refused");
    assert!(format!("{error:#}").contains("violates check constraint"), "{error:#}");
    world.serves(world.job(), "org-vault").await
}

#[tokio::test]
async fn an_escrow_that_was_copied_from_another_row_opens_nothing() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let vault_id = world.alice.vault(&world.client).await?;
    let other = world.alice.vault(&world.client).await?;
    let hers = mallory.vault(&world.client).await?;
    let escrow =
        |from: &str| format!("(select ci_escrow_wrapping_key from lpm.vault_sync where vault_id = '{from}')");
    let own = world.value(&format!("select {}", escrow(&vault_id)))?;
    let put = |what: &str| {
        world.value(&format!("update lpm.vault_sync set ci_escrow_wrapping_key = {what}, escrow_kind = 'wrapping' where vault_id = '{vault_id}' returning 1"))
    };
    for (case, from) in [("the same machine's other vault", &other), ("another account's vault", &hers)] {
        put(&escrow(from))?;
        let met = world.job().pull(&world.client, &vault_id).await?;
        let trail = "ci_pull granted, ci_open failed escrow_mismatch";
        world.refused(case, &met, (409, "escrow_mismatch"), trail)?;
        put(&format!("'{own}'"))?;
        world.serves(world.job(), &vault_id).await?;
        world.serves(world.job(), from).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stored_escrow_that_was_changed_or_relabelled_opens_nothing() -> Result<()> {
    let known = Known::new().await?;
    let world = &known.world;
    let good = known.stored(&known.context(EscrowKind::Wrapping))?;
    let parts: Vec<&str> = good.split('.').collect();
    // a letter within the base64 of IV or ciphertext, never in padding or stray bits
    let changed = |part: usize, at: usize| {
        let mut parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        let letter = if parts[part].as_bytes()[at] == b'A' { "B" } else { "A" };
        parts[part].replace_range(at..=at, letter);
        parts.join(".")
    };
    let labelled = |id: &str| good.replacen(".k1.", &format!(".{id}."), 1);
    for (case, escrow) in [
        ("one letter of the IV", changed(2, 3)),
        ("one letter of the key", changed(3, 3)),
        ("one letter of the tag", changed(3, 60)),
        ("under the other key's id", labelled("k2")),
        ("another version", good.replacen("v1", "v2", 1)),
        ("as if sealed on the way in", good.replacen("v1", "s1", 1)),
        ("one field more", format!("{good}.AAAA")),
    ] {
        known.put(&known.vault_id, EscrowKind::Wrapping, &escrow)?;
        known.does_not_open(case, &known.vault_id).await?;
    }
    known.put(&known.vault_id, EscrowKind::Wrapping, &labelled("k3"))?;
    let met = world.job().pull(&world.client, &known.vault_id).await?;
    world.refused(
        "under an id that no key has",
        &met,
        (503, "no_escrow_key"),
        "ci_pull failed no_escrow_key",
    )?;
    known.put(&known.vault_id, EscrowKind::Wrapping, &good)?;
    world.serves(world.job(), &known.vault_id).await
}

#[tokio::test]
async fn a_new_push_ends_an_escrow_that_is_bound_to_the_old_blob() -> Result<()> {
    let known = Known::new().await?;
    let world = &known.world;
    known.put(&known.vault_id, EscrowKind::Aes, &known.stored(&known.context(EscrowKind::Aes))?)?;
    world.serves(world.job(), &known.vault_id).await?;
    world.alice.push(&world.client, &known.vault_id).await?;
    let met = world.job().pull(&world.client, &known.vault_id).await?;
    let trail = "ci_pull denied escrow_mismatch";
    world.refused("the next version came without a key", &met, (409, "escrow_mismatch"), trail)?;
    // also where somebody puts the old one back
    known.put(&known.vault_id, EscrowKind::Aes, &known.stored(&known.context(EscrowKind::Aes))?)?;
    known.does_not_open("the next version", &known.vault_id).await?;
    world.value(&format!("select lpm.restore_version('{}', 1, 'alice')", known.vault_id))?;
    world.serves(world.job(), &known.vault_id).await
}

#[tokio::test]
async fn a_sealed_escrow_for_something_else_is_refused_and_the_old_one_stays() -> Result<()> {
    use EscrowKind::{Aes, Wrapping};
    let known = Known::new().await?;
    let (world, vault_id) = (&known.world, known.vault_id.as_str());
    let [newest, older] = &known.keys;
    let stranger = EscrowKey::derive(KeyId::parse("k1"), &aead::random()?)?;
    let seal = |to: &EscrowKey, kind, vault: &str, hash: Option<[u8; 32]>, secret: &Secret| {
        anyhow::Ok(seal_escrow_random(to.id(), to.public(), kind, vault, hash, secret)?)
    };
    let good = || seal(newest, Wrapping, vault_id, None, &known.wrapping);
    let with_public = |public: [u8; 32]| {
        let mut parts: Vec<String> = good()?.split('.').map(str::to_owned).collect();
        parts[2] = openssl::base64::encode_block(&public);
        anyhow::Ok(parts.join("."))
    };
    let put = async |sealed: &str| {
        let asked: [&(dyn ToSql + Sync); 5] =
            [&Uuid::now_v7(), &NONE, &world.alice.token, &vault_id, &sealed];
        answer(&world.client, "put_escrow", &asked).await.map(code)
    };
    assert_eq!(put(&good()?).await?, (200, String::new()));
    let stored = "select concat_ws(' ', escrow_kind, ci_escrow_wrapping_key) from lpm.vault_sync where user_id is not null";
    let before = world.value(stored)?;
    let one = std::array::from_fn(|place| u8::from(place == 0));
    let (invalid, unknown, wrong) =
        ((400, "escrow_invalid"), (409, "escrow_key_unknown"), (409, "escrow_wrong_key"));
    for (case, sealed, expected) in [
        ("for another vault", seal(newest, Wrapping, "other", None, &known.wrapping)?, invalid),
        ("as the other kind", seal(newest, Aes, vault_id, None, &known.wrapping)?, invalid),
        (
            "as the other kind, for this blob",
            seal(newest, Aes, vault_id, Some(known.hash), &known.aes)?,
            invalid,
        ),
        ("bound to a blob", seal(newest, Wrapping, vault_id, Some(known.hash), &known.wrapping)?, invalid),
        (
            "to another server's key of the same id",
            seal(&stranger, Wrapping, vault_id, None, &known.wrapping)?,
            invalid,
        ),
        ("under the other key's id", good()?.replacen(".k1.", ".k2.", 1), invalid),
        ("under an id that no key has", good()?.replacen(".k1.", ".k3.", 1), unknown),
        ("under no id", good()?.replacen(".k1.", "..", 1), invalid),
        ("in the stored form", known.stored(&known.context(Wrapping))?, invalid),
        ("labelled as stored", good()?.replacen("s1", "v1", 1), invalid),
        ("with an ephemeral key of zeros", with_public([0; 32])?, invalid),
        ("with an ephemeral key of small order", with_public(one)?, invalid),
        ("with somebody else's ephemeral key", with_public(*older.public())?, invalid),
        ("cut", good()?[..40].to_owned(), invalid),
        ("with a field more", good()? + ".AAAA", invalid),
        ("nothing", String::new(), invalid),
        (
            "the AES key in the wrapping key's place",
            seal(newest, Wrapping, vault_id, None, &known.aes)?,
            wrong,
        ),
        ("another machine's wrapping key", seal(newest, Wrapping, vault_id, None, &key(&[7; 32]))?, wrong),
    ] {
        let (status, code) = put(&sealed).await?;
        assert_eq!((status, code.as_str()), expected, "{case}");
        assert_eq!(world.value(stored)?, before, "{case}: the old escrow stays");
        let last =
            "select concat_ws(' ', action, decision, reason) from lpm.audit_log order by id desc limit 1";
        assert_eq!(world.value(last)?, format!("escrow_on denied {code}"), "{case}");
    }
    world.serves(world.job(), vault_id).await?;
    let to_older = seal(older, Wrapping, vault_id, None, &known.wrapping)?;
    assert_eq!(put(&to_older).await?, (200, String::new()), "a key that is still loaded");
    assert!(world.value(stored)?.starts_with("wrapping v1.k1."), "is taken, and stored under the newest");
    world.serves(Job::of(&world.alice.issuer), vault_id).await
}
