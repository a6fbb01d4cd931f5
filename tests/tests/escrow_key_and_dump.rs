//! What somebody who has the escrow key and a dump of the database opens: exactly the vaults that are open to CI,
//! where each push brings its own key; and where the escrow is a machine's wrapping key, all that this machine pushed.

use anyhow::{Context, Result, ensure};
use lpm_core::envelope::aead;
use lpm_core::envelope::escrow::{EscrowContext, EscrowKind, Owner, open_stored_escrow};
use lpm_core::envelope::keyring::{EscrowKey, KeyId};
use lpm_core::envelope::vault::{open_blob, open_wrapped_key};
use lpm_core::secret::Secret;
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::database::Database;
use lpm_tests::escrowed::{Escrowed, PAYLOAD, SECRET, answer};
use lpm_tests::stack::ORG;
use std::collections::BTreeSet;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

/// A version of a vault, as a dump shows it.
struct Row {
    name: String,
    vault_id: String,
    owner: Owner,
    escrow: Option<String>,
    hash: [u8; 32],
    blob: String,
    wrapped: Option<String>,
}

/// A server whose escrow key is known, and two machines of one account.
struct World {
    cluster: Cluster,
    key: EscrowKey,
    laptop: Escrowed,
    desktop: Escrowed,
    client: Client,
}

impl World {
    async fn new() -> Result<Self> {
        let raw: [u8; 32] = aead::random()?;
        let key = EscrowKey::derive(KeyId::parse("k1"), &raw)?;
        let keys = cluster::Options::default().escrow_keys(format!("k1:{}\n", hex::encode(raw)));
        let (cluster, laptop) = Escrowed::alone(keys).await?;
        // the same account with another machine's wrapping key
        let token = laptop.database.value("select lpm.create_token('alice', name => 'desktop')")?;
        let desktop = Escrowed::of(laptop.database.clone(), laptop.login.clone(), &token, &laptop.issuer);
        let client = laptop.gateway().await?;
        Ok(Self { cluster, key, laptop, desktop, client })
    }

    /// Everything that a dump holds of vaults: restored where no key is, and read there.
    async fn dump(&self) -> Result<Vec<Row>> {
        let mut dump = std::process::Command::new(self.cluster.bin_dir().join("pg_dump"));
        let dump = dump.arg(self.laptop.database.url()).output()?;
        ensure!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let thief = cluster::Options::default().without_escrow_key().start()?;
        let stolen: Database = thief.create_database("stolen", None).await?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &dump.stdout)?;
        let restored = stolen.psql_command().arg("--file").arg(file.path()).output()?;
        ensure!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        let superuser = stolen.connect().await?;
        let rows = superuser.query(
            "select v.vault_id, v.user_id, v.org_id, x.* from lpm.vault_sync v cross join lateral (
                 select v.version, v.ci_escrow_wrapping_key, v.blob_sha256, v.encrypted_blob, v.wrapped_key where v.version > 0
                 union all
                 select o.version, o.ci_escrow_wrapping_key, o.blob_sha256, o.encrypted_blob, o.wrapped_key
                   from lpm.vault_version o where o.vault = v.id) x",
            &[],
        );
        let mut found = Vec::new();
        for row in rows.await? {
            let (vault_id, version): (String, i32) = (row.get(0), row.get(3));
            let owner = match (row.get::<_, Option<Uuid>>(1), row.get::<_, Option<Uuid>>(2)) {
                (Some(user), None) => Owner::User(user),
                (None, Some(org)) => Owner::Org(org),
                other => anyhow::bail!("an owner: {other:?}"),
            };
            found.push(Row {
                name: match owner {
                    Owner::User(_) => format!("{vault_id} {version}"),
                    Owner::Org(_) => format!("{vault_id} {version} of the org"),
                },
                vault_id,
                owner,
                escrow: row.get(4),
                hash: row.get::<_, Vec<u8>>(5).try_into().ok().context("a hash")?,
                blob: row.get(6),
                wrapped: row.get(7),
            });
        }
        Ok(found)
    }

    /// Every version that opens, by the names of vault and version. Nothing is left untried: each escrow in every
    /// context that the rows give, and each key that comes out on every wrapped key and every ciphertext.
    async fn opened(&self) -> Result<BTreeSet<String>> {
        let rows = self.dump().await?;
        let mut keys: Vec<Secret> = Vec::new();
        for escrow in rows.iter().filter_map(|row| row.escrow.as_deref()) {
            for row in &rows {
                for (kind, blob_hash) in
                    [(EscrowKind::Wrapping, None), (EscrowKind::Aes, Some(row.hash)), (EscrowKind::Aes, None)]
                {
                    let context =
                        EscrowContext { kind, vault_id: &row.vault_id, owner: row.owner, blob_hash };
                    keys.extend(open_stored_escrow(&self.key, &context, escrow));
                }
            }
        }
        let wrapped = rows.iter().filter_map(|row| row.wrapped.as_deref());
        let unwrapped: Vec<Secret> = wrapped
            .flat_map(|wrapped| keys.iter().filter_map(|key| open_wrapped_key(key, wrapped).ok()))
            .collect();
        keys.extend(unwrapped);
        let mut opened = BTreeSet::new();
        for row in &rows {
            for text in keys.iter().filter_map(|key| open_blob(key, &row.blob).ok()) {
                ensure!(text.expose_str().is_some_and(|text| text.contains(SECRET)), "{}", row.name);
                opened.insert(row.name.clone());
            }
        }
        Ok(opened)
    }

    async fn turn_off(&self, vault_id: &str) -> Result<()> {
        let asked: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &self.laptop.token, &vault_id];
        assert_eq!(answer(&self.client, "disable_escrow", &asked).await?.0, 200);
        Ok(())
    }

    /// Opts a pushed vault in by a key of its own.
    async fn opt_in(&self, vault_id: &str) -> Result<()> {
        let text = self.laptop.encrypt(PAYLOAD)?;
        assert_eq!(self.laptop.push_text(&self.client, vault_id, &text, None).await?.0, 200);
        let escrow = self.laptop.seal(&self.client, vault_id, &text).await?;
        assert_eq!(self.laptop.opt_in(&self.client, vault_id, Some(&escrow), None).await?.0, 200);
        Ok(())
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn with_keys_of_their_own_exactly_the_vaults_that_are_open_to_ci_open() -> Result<()> {
    let world = World::new().await?;
    let (laptop, client) = (&world.laptop, &world.client);
    for vault_id in ["never", "opted in", "turned off"] {
        laptop.push(client, vault_id).await?;
    }
    world.desktop.push(client, "another machine's").await?;
    assert_eq!(world.opened().await?, names(&[]), "without escrow nothing opens");
    world.opt_in("opted in").await?;
    world.opt_in("turned off").await?;
    assert_eq!(world.opened().await?, names(&["opted in 2", "turned off 2"]), "no earlier version either");
    laptop.push_with_key(client, "opted in", PAYLOAD).await?;
    laptop.push_with_key(client, "turned off", PAYLOAD).await?;
    world.turn_off("turned off").await?;
    laptop.push(client, "never").await?;
    assert_eq!(world.opened().await?, names(&["opted in 2", "opted in 3"]));
    // a push that leaves CI behind leaves the dump behind as well
    laptop.push(client, "opted in").await?;
    assert_eq!(world.opened().await?, names(&["opted in 2", "opted in 3"]));
    Ok(())
}

#[tokio::test]
async fn with_a_machines_wrapping_key_everything_opens_that_this_machine_pushed() -> Result<()> {
    let world = World::new().await?;
    let (laptop, client) = (&world.laptop, &world.client);
    laptop.push(client, "open to CI").await?;
    laptop.push(client, "never opened").await?;
    laptop.push(client, "never opened").await?;
    world.desktop.push(client, "another machine's").await?;
    laptop.allow(client, "open to CI").await?;
    laptop.escrow(client, "open to CI").await?;
    let of_the_machine = names(&["open to CI 1", "never opened 1", "never opened 2"]);
    assert_eq!(world.opened().await?, of_the_machine, "what SECURITY.md says of kind `wrapping`");
    // a later push of the machine opens as well, and one of another machine does not
    world.desktop.push(client, "open to CI").await?;
    laptop.push(client, "pushed later").await?;
    let mut later = of_the_machine.clone();
    later.insert("pushed later 1".to_owned());
    assert_eq!(world.opened().await?, later);
    // until the vault gets a key of its own, or is closed to CI
    world.opt_in("open to CI").await?;
    assert_eq!(world.opened().await?, names(&["open to CI 3"]), "no copy of the machine's key is left");
    world.turn_off("open to CI").await?;
    assert_eq!(world.opened().await?, names(&[]));
    Ok(())
}

#[tokio::test]
async fn of_an_orgs_vaults_exactly_those_open_that_are_open_to_ci() -> Result<()> {
    let world = World::new().await?;
    let (laptop, client) = (&world.laptop, &world.client);
    let text = laptop.encrypt(PAYLOAD)?;
    assert_eq!(laptop.share(client, ORG, "closed", &text, None).await?.0, 201);
    // one vault, the account's own row and the org's, and only the latter is open
    laptop.push(client, "both").await?;
    let text = laptop.encrypt(PAYLOAD)?;
    assert_eq!(laptop.share(client, ORG, "both", &text, None).await?.0, 201);
    assert_eq!(world.opened().await?, names(&[]));
    let escrow = laptop.seal(client, "both", &text).await?;
    assert_eq!(laptop.opt_in_for(client, Some(ORG), "both", Some(&escrow), None).await?.0, 200);
    laptop.share_with_key(client, ORG, "both", PAYLOAD).await?;
    laptop.push(client, "both").await?;
    assert_eq!(world.opened().await?, names(&["both 1 of the org", "both 2 of the org"]));
    // a machine's key opens nothing of an org
    laptop.escrow(client, "both").await?;
    let mine = ["both 1", "both 2", "both 1 of the org", "both 2 of the org"];
    assert_eq!(world.opened().await?, names(&mine), "\"closed\" is the org's, and stays closed");
    Ok(())
}
