//! Escrow of kind `aes`: opting in, what each push brings or leaves behind, changing kinds, and turning it off.

use anyhow::Result;
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_tests::escrowed::{Escrowed, PAYLOAD, SECRET, answer, code, denied, granted};
use lpm_tests::job::Job;
use lpm_tests::per_vault::Brought;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

async fn ready() -> Result<(Escrowed, Client)> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    Ok((escrowed, client))
}

/// What a job with a fresh token meets, and its trail.
async fn pulled(alice: &Escrowed, client: &Client, vault_id: &str) -> Result<(i32, String, String)> {
    let met = Job::of(&alice.issuer).pull(client, vault_id).await?;
    let what = if met.status == 200 { &met.body["vars"]["API_KEY"] } else { &met.body["code"] };
    Ok((met.status, what.as_str().unwrap_or_default().to_owned(), met.trail(&alice.database)?))
}

fn served() -> (i32, String, String) {
    (200, SECRET.to_owned(), "ci_pull granted".to_owned())
}

fn left_behind() -> (i32, String, String) {
    (409, "escrow_mismatch".to_owned(), "ci_pull denied escrow_mismatch".to_owned())
}

/// Kind, whether a key is stored, whether for published clients; then what is stored of kept versions.
fn stored(alice: &Escrowed, vault_id: &str) -> Result<String> {
    alice.database.value(&format!(
        "select concat_ws(' ', coalesce(v.escrow_kind, 'off'), case when v.ci_escrow_wrapping_key is null then 'no key' else 'a key' end,
                case when v.legacy_clients then 'legacy' end, (select string_agg(o.version || ':' || o.escrow_kind, ' ' order by o.version)
                   from lpm.vault_version o where o.vault = v.id and o.ci_escrow_wrapping_key is not null))
           from lpm.vault_sync v where v.vault_id = '{vault_id}' and v.user_id is not null"
    ))
}

/// The answer to an escrow of kind `wrapping`.
async fn put_wrapping(
    alice: &Escrowed,
    client: &Client,
    vault_id: &str,
    legacy_clients: Option<bool>,
) -> Result<(i32, Value)> {
    let sealed = alice.sealed(client, vault_id).await?;
    let (id, kind) = (Uuid::now_v7(), None::<&str>);
    let asked: [&(dyn ToSql + Sync); 8] =
        [&id, &NONE, &alice.token, &vault_id, &sealed, &kind, &NONE, &legacy_clients];
    answer(client, "put_escrow", &asked).await
}

#[tokio::test]
async fn a_vault_can_be_opted_in_before_its_first_push_which_brings_the_key() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = Uuid::new_v4().to_string();
    alice.allow(&client, &vault_id).await?;
    let (status, body) = alice.opt_in(&client, &vault_id, None, None).await?;
    assert_eq!((status, &body["kind"], &body["keyId"]), (200, &json!("aes"), &Value::Null), "{body}");
    assert_eq!(stored(&alice, &vault_id)?, "aes no key");
    assert_eq!(pulled(&alice, &client, &vault_id).await?.1, "never_pushed");
    let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &vault_id];
    assert_eq!(answer(&client, "pull", &asked).await?.0, 404, "nobody sees the row of version 0");
    let text = alice.push_with_key(&client, &vault_id, PAYLOAD).await?;
    assert_eq!(stored(&alice, &vault_id)?, "aes a key");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    // once pushed, opting in needs the key of what is there
    let (status, body) = alice.opt_in(&client, &vault_id, None, None).await?;
    assert_eq!((status, body["code"].as_str()), (400, Some("bad_request")), "{body}");
    let again = alice.seal(&client, &vault_id, &text).await?;
    assert_eq!(alice.opt_in(&client, &vault_id, Some(&again), None).await?.0, 200);
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    Ok(())
}

#[tokio::test]
async fn a_push_without_the_key_leaves_ci_behind_until_one_brings_it() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    alice.push(&client, &vault_id).await?;
    assert_eq!(stored(&alice, &vault_id)?, "aes no key 1:aes", "opted in, and left behind");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, left_behind());
    let (_, body) =
        answer(&client, "list_policies", &[&Uuid::now_v7(), &NONE, &alice.token, &vault_id]).await?;
    assert_eq!(body["escrow"], "on", "its owner opted in, whatever the last push brought");
    let shown = "select concat_ws(' ', ci_escrow, escrow_kind, ci_left_out) from lpm_dashboard.vaults";
    assert_eq!(alice.database.value(shown)?, "t aes t");
    let health = "select what from lpm.health where what like '%left CI out%'";
    assert!(alice.database.value(health)?.starts_with("1 vaults"), "{}", alice.database.value(health)?);
    alice.push_with_key(&client, &vault_id, PAYLOAD).await?;
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    assert_eq!(alice.database.value(shown)?, "t aes f");
    let trail =
        "select string_agg(metadata ->> 'escrow', ' ' order by id) from lpm.audit_log where action = 'push'";
    assert_eq!(alice.database.value(trail)?, "true false true");
    Ok(())
}

#[tokio::test]
async fn whoever_no_policy_names_does_not_learn_that_ci_was_left_behind() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    alice.push(&client, &vault_id).await?;
    let stranger = Job::of(&alice.issuer).repository("evil/web", "666");
    let (here, nowhere) = (
        stranger.clone().decide(&client, &vault_id).await?,
        stranger.claim("jti", "another").decide(&client, "no such vault").await?,
    );
    assert_eq!((here.status, &here.body), (403, &nowhere.body), "{}", here.body);
    let other_branch = Job::of(&alice.issuer).branch("feature/x").decide(&client, &vault_id).await?;
    assert_eq!(other_branch.seen(), (403, "branch_not_allowed"));
    // an exchange decides up to what was pushed; the pull finds that it cannot be opened
    let exchanged = Job::of(&alice.issuer).exchange(&client, &vault_id, &[7; 32]).await?;
    assert_eq!(exchanged.status, 200, "{}", exchanged.body);
    let asked: [&(dyn ToSql + Sync); 5] =
        [&Uuid::now_v7(), &NONE, &[7_u8; 32].as_slice(), &vault_id, &"production"];
    assert_eq!(code(answer(&client, "decide_ci", &asked).await?), (409, "escrow_mismatch".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_push_with_a_key_is_taken_for_its_own_ciphertext_and_vault_only() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let (other_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let (text, other) = (alice.encrypt(PAYLOAD)?, alice.encrypt(PAYLOAD)?);
    let good = alice.seal(&client, &vault_id, &text).await?;
    let (id, public) = alice.escrow_key(&client).await?;
    let seal = |kind, vault: &str, hash| seal_escrow_random(&id, &public, kind, vault, hash, &text.key);
    let with = |sealed: String| Brought { sealed, ..good.clone() };
    let spoiled = |at: usize, part: &str| {
        let mut parts: Vec<&str> = good.sealed.split('.').collect();
        parts[at] = part;
        with(parts.join("."))
    };
    let zeros = openssl::base64::encode_block(&[0; 32]);
    let before = stored(&alice, &vault_id)?;
    let versions = "select string_agg(version::text, ' ' order by id) from lpm.vault_sync";
    let (invalid, unknown) = ((400, "escrow_invalid"), (409, "escrow_key_unknown"));
    for (case, escrow, expected) in [
        ("another push's", alice.seal(&client, &vault_id, &other).await?, invalid),
        (
            "another push's, relabelled",
            Brought {
                blob_sha256: good.blob_sha256.clone(),
                ..alice.seal(&client, &vault_id, &other).await?
            },
            invalid,
        ),
        ("another vault's", with(seal(EscrowKind::Aes, &other_id, Some(text.hash))?), invalid),
        ("the other kind's", with(seal(EscrowKind::Wrapping, &vault_id, None)?), invalid),
        (
            "the other kind's, with a hash",
            with(seal(EscrowKind::Wrapping, &vault_id, Some(text.hash))?),
            invalid,
        ),
        ("bound to no ciphertext", with(seal(EscrowKind::Aes, &vault_id, None)?), invalid),
        (
            "with upper-case digits",
            Brought { blob_sha256: good.blob_sha256.to_uppercase(), ..good.clone() },
            invalid,
        ),
        (
            "with a short hash",
            Brought { blob_sha256: good.blob_sha256[..62].to_owned(), ..good.clone() },
            invalid,
        ),
        ("with no hash", Brought { blob_sha256: String::new(), ..good.clone() }, invalid),
        ("under another key's id", Brought { key_id: "other".to_owned(), ..good.clone() }, invalid),
        ("under no key's id", Brought { key_id: String::new(), ..good.clone() }, invalid),
        ("under an id that no key has", Brought { key_id: "gone".to_owned(), ..spoiled(1, "gone") }, unknown),
        ("with an ephemeral key of zeros", spoiled(2, &zeros), invalid),
        ("with a short ephemeral key", spoiled(2, "AAAA"), invalid),
        ("with an unpadded iv", spoiled(3, "AAECAwQFBgcICQo"), invalid),
        ("with a short key", spoiled(4, "AAAA"), invalid),
        ("with white space", with(format!("{} ", good.sealed)), invalid),
        ("in the stored form", with("v1.dev.AAAA.AAAA".to_owned()), invalid),
        ("that is empty", with(String::new()), invalid),
    ] {
        let met = alice.push_text(&client, &vault_id, &text, Some(&escrow)).await?;
        assert_eq!((met.0, met.1["code"].as_str()), (expected.0, Some(expected.1)), "{case}: {}", met.1);
        assert_eq!(alice.database.value(versions)?, "1 1", "{case}: nothing is stored");
        assert_eq!(stored(&alice, &vault_id)?, before, "{case}");
        let known = format!(
            "select count(*) from lpm.blob_seen where blob_sha256 = decode('{}', 'hex')",
            hex::encode(text.hash)
        );
        assert_eq!(alice.database.value(&known)?, "0", "{case}: nor remembered");
        let last =
            "select concat_ws(' ', action, decision, reason) from lpm.audit_log order by id desc limit 1";
        assert_eq!(alice.database.value(last)?, format!("push denied {}", expected.1), "{case}");
    }
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    assert_eq!(alice.push_text(&client, &vault_id, &text, Some(&good)).await?.0, 200);
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    Ok(())
}

#[tokio::test]
async fn a_key_is_not_taken_for_a_vault_that_is_not_opted_in_to_bring_one() -> Result<()> {
    let (alice, client) = ready().await?;
    let (never, off, wrapping) = ("never", "off", "wrapping");
    alice.push(&client, off).await?;
    alice.push(&client, wrapping).await?;
    alice.escrow(&client, wrapping).await?;
    let before = stored(&alice, wrapping)?;
    for vault_id in [never, off, wrapping] {
        let text = alice.encrypt(PAYLOAD)?;
        let escrow = alice.seal(&client, vault_id, &text).await?;
        let met = alice.push_text(&client, vault_id, &text, Some(&escrow)).await?;
        assert_eq!(code(met), (409, "escrow_not_opted_in".to_owned()), "{vault_id}");
    }
    assert_eq!(alice.database.value("select string_agg(version::text, ' ') from lpm.vault_sync")?, "1 1");
    assert_eq!(alice.database.value("select count(*) from lpm.vault_claim where vault_id = 'never'")?, "0");
    assert_eq!((stored(&alice, off)?.as_str(), stored(&alice, wrapping)?), ("off no key", before));
    // switched off between the client's question and its push
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &vault_id];
    assert_eq!(answer(&client, "disable_escrow", &asked).await?.0, 200);
    let text = alice.encrypt(PAYLOAD)?;
    let escrow = alice.seal(&client, &vault_id, &text).await?;
    let met = alice.push_text(&client, &vault_id, &text, Some(&escrow)).await?;
    assert_eq!(code(met), (409, "escrow_not_opted_in".to_owned()));
    assert_eq!(stored(&alice, &vault_id)?, "off no key");
    Ok(())
}

#[tokio::test]
async fn an_escrow_of_its_own_replaces_the_machines_and_every_copy_of_it() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    alice.push(&client, &vault_id).await?;
    assert_eq!(stored(&alice, &vault_id)?, "wrapping a key", "kept versions have no copy of a machine's key");
    let text = alice.encrypt(PAYLOAD)?;
    assert_eq!(alice.push_text(&client, &vault_id, &text, None).await?.0, 200);
    let other = alice.encrypt(PAYLOAD)?;
    let refused = alice.seal(&client, &vault_id, &other).await?;
    let met = alice.opt_in(&client, &vault_id, Some(&refused), None).await?;
    assert_eq!(code(met), (409, "escrow_other_blob".to_owned()));
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served(), "the old escrow stays");
    let escrow = alice.seal(&client, &vault_id, &text).await?;
    assert_eq!(alice.opt_in(&client, &vault_id, Some(&escrow), None).await?.0, 200);
    assert_eq!(stored(&alice, &vault_id)?, "aes a key");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    let copies = "select count(*) from (select escrow_kind k from lpm.vault_sync union all select escrow_kind from lpm.vault_version) e where k = 'wrapping'";
    assert_eq!(alice.database.value(copies)?, "0");
    Ok(())
}

#[tokio::test]
async fn a_published_allow_does_not_put_the_machines_key_in_place_of_the_vaults() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    for legacy in [None, Some(false)] {
        let (status, body) = put_wrapping(&alice, &client, &vault_id, legacy).await?;
        assert_eq!((status, body["code"].as_str()), (409, Some("escrow_per_vault")), "{body}");
        assert!(body["hint"].as_str().is_some_and(|hint| hint.contains("--legacy-clients")), "{body}");
    }
    assert_eq!(stored(&alice, &vault_id)?, "aes a key");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    Ok(())
}

#[tokio::test]
async fn a_vault_that_is_kept_for_published_clients_stays_so_until_that_is_ended() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let text = alice.push_with_key(&client, &vault_id, PAYLOAD).await?;
    assert_eq!(stored(&alice, &vault_id)?, "aes a key 1:aes");
    assert_eq!(put_wrapping(&alice, &client, &vault_id, Some(true)).await?.0, 200);
    assert_eq!(stored(&alice, &vault_id)?, "wrapping a key legacy", "and no copy of the other kind");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    // a published client's push and allow, and our allow without the word
    alice.push(&client, &vault_id).await?;
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    assert_eq!(put_wrapping(&alice, &client, &vault_id, None).await?.0, 200);
    assert_eq!(alice.push_text(&client, &vault_id, &text, None).await?.0, 200);
    let escrow = alice.seal(&client, &vault_id, &text).await?;
    let met = alice.opt_in(&client, &vault_id, Some(&escrow), None).await?;
    assert_eq!(code(met), (409, "escrow_legacy_clients".to_owned()));
    assert_eq!(code(alice.opt_in(&client, &vault_id, Some(&escrow), Some(true)).await?).0, 400);
    assert_eq!(stored(&alice, &vault_id)?, "wrapping a key legacy");
    assert_eq!(alice.opt_in(&client, &vault_id, Some(&escrow), Some(false)).await?.0, 200);
    assert_eq!(stored(&alice, &vault_id)?, "aes a key");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    Ok(())
}

#[tokio::test]
async fn turning_escrow_off_forgets_the_keys_of_every_kept_version() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    alice.push_with_key(&client, &vault_id, PAYLOAD).await?;
    alice.push_with_key(&client, &vault_id, PAYLOAD).await?;
    assert_eq!(stored(&alice, &vault_id)?, "aes a key 1:aes 2:aes");
    let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &vault_id];
    assert_eq!(answer(&client, "disable_escrow", &asked).await?.0, 200);
    assert_eq!(stored(&alice, &vault_id)?, "off no key");
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), denied("escrow_off"));
    let restore = format!("select lpm.restore_version('{vault_id}', 2, 'alice')");
    alice.database.value(&restore)?;
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), denied("escrow_off"));
    Ok(())
}

#[tokio::test]
async fn a_restored_version_has_the_key_that_came_with_it() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    alice.push(&client, &vault_id).await?;
    alice.push_with_key(&client, &vault_id, PAYLOAD).await?;
    let restore = |version: i32| {
        alice.database.value(&format!("select lpm.restore_version('{vault_id}', {version}, 'alice')"))
    };
    assert_eq!(restore(1)?, "4");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    assert_eq!(restore(2)?, "5");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, left_behind(), "version 2 came without");
    assert_eq!(restore(3)?, "6");
    assert_eq!(pulled(&alice, &client, &vault_id).await?, served());
    assert_eq!(stored(&alice, &vault_id)?, "aes a key 1:aes 3:aes 4:aes");
    Ok(())
}

#[tokio::test]
async fn a_grant_that_is_opened_after_a_push_without_a_key_opens_nothing() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let request = Uuid::now_v7();
    assert_eq!(code(alice.decide(&client, request, &vault_id, "main").await?), granted());
    alice.push(&client, &vault_id).await?;
    let (status, body) = alice.open(&client, request).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("escrow_mismatch")), "{body}");
    Ok(())
}

#[tokio::test]
async fn whoever_seals_is_told_what_the_vault_is_opted_in_to() -> Result<()> {
    let (alice, client) = ready().await?;
    let told = async |vault: Option<&str>, org: Option<&str>| {
        let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &alice.token, &vault, &org];
        let (status, body) = answer(&client, "escrow_key", &asked).await?;
        anyhow::Ok((status, body["escrow"].clone(), body["legacyClients"].clone(), body["code"].clone()))
    };
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let wrapping = alice.vault(&client).await?;
    assert_eq!(told(None, None).await?, (200, Value::Null, Value::Null, Value::Null));
    assert_eq!(told(Some(&vault_id), None).await?, (200, json!("aes"), json!(false), Value::Null));
    assert_eq!(told(Some(&wrapping), None).await?, (200, json!("wrapping"), json!(false), Value::Null));
    assert_eq!(told(Some("nobody's"), None).await?, (200, json!("off"), json!(false), Value::Null));
    assert_eq!(put_wrapping(&alice, &client, &vault_id, Some(true)).await?.0, 200);
    assert_eq!(told(Some(&vault_id), None).await?, (200, json!("wrapping"), json!(true), Value::Null));
    let unknown = (404, Value::Null, Value::Null, json!("org_unknown"));
    assert_eq!(told(Some(&vault_id), Some("no-such-org")).await?, unknown);
    // of another account's vault nothing is told
    let mallory = alice.account("mallory", "pro")?;
    let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &mallory.token, &vault_id];
    let (_, body) = answer(&client, "escrow_key", &asked).await?;
    assert_eq!((&body["escrow"], &body["legacyClients"]), (&json!("off"), &json!(false)), "{body}");
    Ok(())
}

#[tokio::test]
async fn only_who_owns_the_vault_id_and_has_a_plan_opens_it_to_ci() -> Result<()> {
    let (alice, client) = ready().await?;
    let (vault_id, _) = alice.vault_per_push(&client, PAYLOAD).await?;
    let mallory = alice.account("mallory", "pro")?;
    let met = mallory.opt_in(&client, &vault_id, None, None).await?;
    assert_eq!(code(met), (409, "vault_claimed".to_owned()));
    let free = alice.account("frida", "free")?;
    let (status, body) = free.opt_in(&client, "fridas", None, None).await?;
    assert_eq!((status, body["error"].as_str()), (403, Some("CI escrow requires a Pro or Org plan")));
    assert_eq!(alice.database.value("select count(*) from lpm.vault_claim where vault_id = 'fridas'")?, "0");
    alice.database.value("select lpm.set_plan('alice', 'free')")?;
    let (status, body) = alice.opt_in(&client, &vault_id, None, None).await?;
    assert_eq!((status, body["error"].as_str()), (403, Some("CI escrow requires a Pro or Org plan")));
    assert_eq!(stored(&alice, &vault_id)?, "aes a key", "a downgrade keeps what is there");
    let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &vault_id];
    assert_eq!(
        answer(&client, "disable_escrow", &asked).await?.0,
        200,
        "and escrow can always be turned off"
    );
    Ok(())
}

#[tokio::test]
async fn requests_for_escrow_that_contradict_themselves_are_refused() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.push(&client, "v").await?;
    let hash = "0".repeat(64);
    let (s, h, none) = (Some("s1.x"), Some(hash.as_str()), None::<&str>);
    for (case, sealed, kind, hash, legacy, reason) in [
        ("an unknown kind", s, Some("raw"), none, None, "`kind` must be `aes` or `wrapping`"),
        ("an empty kind", s, Some(""), none, None, "`kind` must be `aes` or `wrapping`"),
        ("nothing", none, none, none, None, "`sealed` or `wrappingKeyHex` is missing"),
        (
            "no key of the machine",
            none,
            Some("wrapping"),
            none,
            Some(true),
            "`sealed` or `wrappingKeyHex` is missing",
        ),
        (
            "a machine's key of one ciphertext",
            s,
            Some("wrapping"),
            h,
            None,
            "a wrapping key belongs to no one ciphertext: leave `blobSha256` out",
        ),
        (
            "a key of its own for published clients",
            s,
            Some("aes"),
            h,
            Some(true),
            "published clients need the kind `wrapping`",
        ),
        ("a key of no ciphertext", s, Some("aes"), none, None, "`sealed` and `blobSha256` come together"),
        (
            "a ciphertext without its key",
            none,
            Some("aes"),
            h,
            None,
            "`sealed` and `blobSha256` come together",
        ),
        ("a short hash", s, Some("aes"), Some("00"), None, "`blobSha256` must be 64 lower-case hex digits"),
    ] {
        let asked: [&(dyn ToSql + Sync); 8] =
            [&Uuid::now_v7(), &NONE, &alice.token, &"v", &sealed, &kind, &hash, &legacy];
        let (status, body) = answer(&client, "put_escrow", &asked).await?;
        assert_eq!((status, body["error"].as_str()), (400, Some(reason)), "{case}: {body}");
    }
    assert_eq!(stored(&alice, "v")?, "off no key");
    Ok(())
}
