//! Stored keys of kind `aes`, moved by whoever can write the table: between vaults, owners, versions and kinds, alone
//! and with the ciphertext that they belong to. Each opens nothing, and back in its place it does.

use crate::World;
use anyhow::{Context, Result};
use lpm_tests::escrowed::PAYLOAD;
use lpm_tests::stack::ORG;
use serde_json::json;

/// The columns that a moved escrow has to do with.
const COLUMNS: &str = "ci_escrow_wrapping_key, escrow_kind, blob_sha256, encrypted_blob, wrapped_key";

/// Asserts that alice's `vault_id` opens nothing after each of these changes, and does when they are taken back.
async fn opens_nothing_after(world: &World, vault_id: &str, changes: &[(&str, String)]) -> Result<()> {
    let here = format!(
        "where v.vault_id = '{vault_id}' and v.user_id = (select id from lpm.account where handle = 'alice')"
    );
    world
        .value(&format!("create table public.before as select v.* from lpm.vault_sync v {here}; select 1"))?;
    for (case, change) in changes {
        world.value(&format!("update lpm.vault_sync v set {change} {here} returning 1"))?;
        let met = world.job().pull(&world.client, vault_id).await?;
        let trail = "ci_pull granted, ci_open failed escrow_mismatch";
        world.refused(case, &met, (409, "escrow_mismatch"), trail)?;
        world.value(&format!("update lpm.vault_sync v set ({COLUMNS}) = (select {COLUMNS} from public.before) {here} returning 1"))?;
        world.serves(world.job(), vault_id).await.with_context(|| (*case).to_owned())?;
    }
    Ok(())
}

/// The change that takes over the escrow of another row, and with `all` what it opens as well.
fn taken_from(row: &str, all: bool) -> String {
    let columns = if all { COLUMNS } else { "ci_escrow_wrapping_key, escrow_kind" };
    format!("({columns}) = (select {columns} from {row})")
}

#[tokio::test]
async fn a_key_that_came_with_another_vault_owner_or_version_opens_nothing() -> Result<()> {
    let world = World::new().await?;
    let (alice, client) = (&world.alice, &world.client);
    let mallory = alice.account("mallory", "pro")?;
    let (other, _) = alice.vault_per_push(client, PAYLOAD).await?;
    let (hers, _) = mallory.vault_per_push(client, PAYLOAD).await?;
    let (vault_id, _) = alice.vault_per_push(client, PAYLOAD).await?;
    alice.push_with_key(client, &vault_id, PAYLOAD).await?;
    // under the same id, mallory's own row: its key is hers alone
    let text = mallory.encrypt(PAYLOAD)?;
    assert_eq!(mallory.push_text(client, &vault_id, &text, None).await?.0, 201);
    world.value(&format!(
        "update lpm.vault_sync set escrow_kind = 'aes', ci_escrow_wrapping_key = (select ci_escrow_wrapping_key from lpm.vault_sync where vault_id = '{hers}')
          where vault_id = '{vault_id}' and user_id = (select id from lpm.account where handle = 'mallory') returning 1"
    ))?;
    let of = |id: &str, handle: &str| {
        format!(
            "lpm.vault_sync o where o.vault_id = '{id}' and o.user_id = (select id from lpm.account where handle = '{handle}')"
        )
    };
    let kept = format!(
        "lpm.vault_version o where o.version = 1 and o.vault = (select id from {})",
        of(&vault_id, "alice")
    );
    opens_nothing_after(
        &world,
        &vault_id,
        &[
            ("her other vault's key", taken_from(&of(&other, "alice"), false)),
            ("her other vault's key with its ciphertext", taken_from(&of(&other, "alice"), true)),
            ("another account's key", taken_from(&of(&hers, "mallory"), false)),
            ("another account's key with its ciphertext", taken_from(&of(&hers, "mallory"), true)),
            ("the row of another account under the same id", taken_from(&of(&vault_id, "mallory"), true)),
            ("the key of the version before", taken_from(&kept, false)),
            ("its own key as a machine's", "escrow_kind = 'wrapping'".to_owned()),
            (
                "its own key for a ciphertext that has another hash",
                "blob_sha256 = sha256(v.blob_sha256)".to_owned(),
            ),
            (
                "its own key for another vault's ciphertext",
                format!("encrypted_blob = (select encrypted_blob from {})", of(&other, "alice")),
            ),
        ],
    )
    .await
}

#[tokio::test]
async fn a_machines_key_opens_nothing_as_a_vaults_own() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let changes = [("a machine's key as its own", "escrow_kind = 'aes'".to_owned())];
    opens_nothing_after(&world, &vault_id, &changes).await
}

#[tokio::test]
async fn an_accounts_key_opens_nothing_in_an_orgs_row_nor_the_other_way_round() -> Result<()> {
    let world = World::new().await?;
    let (alice, client) = (&world.alice, &world.client);
    let (vault_id, _) = alice.vault_per_push(client, PAYLOAD).await?;
    let text = alice.encrypt(PAYLOAD)?;
    assert_eq!(alice.share(client, ORG, &vault_id, &text, None).await?.0, 201);
    let escrow = alice.seal(client, &vault_id, &text).await?;
    assert_eq!(alice.opt_in_for(client, Some(ORG), &vault_id, Some(&escrow), None).await?.0, 200);
    let mine = format!("lpm.vault_sync o where o.vault_id = '{vault_id}' and o.user_id is not null");
    let orgs = format!("lpm.vault_sync o where o.vault_id = '{vault_id}' and o.org_id is not null");
    opens_nothing_after(
        &world,
        &vault_id,
        &[
            ("the org's key", taken_from(&orgs, false)),
            ("the org's key with its ciphertext", taken_from(&orgs, true)),
        ],
    )
    .await?;
    // the org's row, asked for by the org's policy only
    world.value("delete from lpm.oidc_policy returning 1")?;
    alice.allow_with(client, &vault_id, &json!({"scope": "org", "org": ORG})).await?;
    world.serves(world.job(), &vault_id).await?;
    let here = format!("where v.vault_id = '{vault_id}' and v.org_id is not null returning 1");
    for (case, all) in [("the account's key", false), ("the account's key with its ciphertext", true)] {
        world.value(&format!("update lpm.vault_sync v set {} {here}", taken_from(&mine, all)))?;
        let met = world.job().pull(client, &vault_id).await?;
        let trail = "ci_pull granted, ci_open failed escrow_mismatch";
        world.refused(case, &met, (409, "escrow_mismatch"), trail)?;
    }
    Ok(())
}
