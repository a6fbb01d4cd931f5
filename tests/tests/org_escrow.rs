//! An org's vault and CI: who opens it, what a share brings or leaves behind, its versions, and the personal vault of
//! the same id beside it.

use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, PAYLOAD, SECRET, answer, code};
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::TokenRequest;
use lpm_tests::stack::{ORG, Stack};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

/// `alice`, admin of the org; `dora`, a developer of it; and somebody of another org.
struct World {
    stack: Stack,
    alice: Escrowed,
    dora: Escrowed,
    client: Client,
    vault: &'static str,
}

impl World {
    async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let alice = stack.escrowed(&stack.seed.alice);
        let dora = stack.escrowed(&stack.account("dora", "free").await?);
        stack.database().value(&format!("select lpm.add_member('{ORG}', 'dora')"))?;
        let client = alice.gateway().await?;
        Ok(Self { stack, alice, dora, client, vault: "vault-org-123" })
    }

    /// A vault of the org that is shared with its key, and open to `main` of `acme/web`.
    async fn open() -> Result<Self> {
        let world = Self::new().await?;
        world.allow("org").await?;
        let (status, body) =
            world.alice.opt_in_for(&world.client, Some(ORG), world.vault, None, None).await?;
        anyhow::ensure!(status == 200, "put_escrow: {status} {body}");
        world.alice.share_with_key(&world.client, ORG, world.vault, PAYLOAD).await?;
        Ok(world)
    }

    async fn allow(&self, scope: &str) -> Result<()> {
        let changes = match scope {
            "org" => json!({"scope": "org", "org": ORG}),
            _ => json!({}),
        };
        self.alice.allow_with(&self.client, self.vault, &changes).await
    }

    async fn share(&self, with_key: bool) -> Result<(i32, Value)> {
        let text = self.alice.encrypt(PAYLOAD)?;
        let escrow = self.alice.seal(&self.client, self.vault, &text).await?;
        self.alice.share(&self.client, ORG, self.vault, &text, with_key.then_some(&escrow)).await
    }

    /// A pull in one step, through HTTP.
    async fn pull(&self) -> Result<Reply> {
        self.stack.gateway.post("/api/vault/oidc/pull", None, &self.request()?).await
    }

    /// A pull in two steps, through HTTP.
    async fn pull_in_two_steps(&self) -> Result<Reply> {
        let exchanged = self.stack.gateway.post("/api/vault/oidc", None, &self.request()?).await?;
        anyhow::ensure!(exchanged.status == 200, "an exchange opens nothing: {}", exchanged.text());
        let path = format!("/api/vaults/{}/ci-pull?env=production", self.vault);
        self.stack.gateway.get(&path, Some(&exchanged.member("token"))).await
    }

    fn request(&self) -> Result<Value> {
        let token = self.stack.issuer.mint(&TokenRequest::github().repository("acme/web"))?;
        Ok(json!({"oidcToken": token, "vaultId": self.vault, "env": "production"}))
    }

    async fn serves(&self) -> Result<()> {
        for reply in [self.pull().await?, self.pull_in_two_steps().await?] {
            anyhow::ensure!(reply.json()["vars"]["API_KEY"] == SECRET, "{}", reply.text());
        }
        Ok(())
    }

    fn value(&self, sql: &str) -> Result<String> {
        self.stack.database().value(sql)
    }

    /// Kind of the org's escrow, and whether a key is stored.
    fn stored(&self) -> Result<String> {
        self.value("select concat_ws(' ', coalesce(escrow_kind, 'off'), ci_escrow_wrapping_key is not null) from lpm.vault_sync where org_id is not null")
    }
}

#[tokio::test]
async fn a_share_without_the_key_leaves_ci_out_and_the_text_says_what_to_run() -> Result<()> {
    let world = World::open().await?;
    world.serves().await?;
    assert_eq!(world.share(false).await?.0, 200, "as the published client shares");
    assert_eq!(world.stored()?, "aes f");
    for reply in [world.pull().await?, world.pull_in_two_steps().await?] {
        assert_eq!(
            (reply.status.as_u16(), reply.code(), reply.member("error")),
            (
                409,
                "org_share_without_escrow".to_owned(),
                r#"the last share left CI out; run "lpm env share --org acme" with this lpm"#.to_owned()
            )
        );
    }
    let trail = "select string_agg(concat_ws(' ', action, decision, reason), ', ' order by id) from (
        select * from lpm.audit_log where provider is not null order by id desc limit 3) l";
    assert_eq!(
        world.value(trail)?,
        "ci_pull denied org_share_without_escrow, ci_exchange granted, ci_pull denied org_share_without_escrow"
    );
    assert_eq!(world.value("select count(*) from lpm.audit_log where action = 'ci_pull' and reason = 'org_share_without_escrow' and owner_org_id is not null")?, "2");
    assert_eq!(world.share(true).await?.0, 200);
    world.serves().await?;
    let brought =
        "select string_agg(metadata ->> 'escrow', ' ' order by id) from lpm.audit_log where action = 'share'";
    assert_eq!(world.value(brought)?, "true false true");
    Ok(())
}

#[tokio::test]
async fn a_share_brings_its_own_key_or_none() -> Result<()> {
    let world = World::open().await?;
    let (text, other) = (world.alice.encrypt(PAYLOAD)?, world.alice.encrypt(PAYLOAD)?);
    let good = world.alice.seal(&world.client, world.vault, &text).await?;
    let others = world.alice.seal(&world.client, world.vault, &other).await?;
    let elsewhere = world.alice.seal(&world.client, "elsewhere", &text).await?;
    for (case, escrow) in [("another share's", others), ("another vault's", elsewhere)] {
        let met = world.alice.share(&world.client, ORG, world.vault, &text, Some(&escrow)).await?;
        assert_eq!(code(met), (400, "escrow_invalid".to_owned()), "{case}");
    }
    assert_eq!(world.value("select version from lpm.vault_sync")?, "1", "nothing is stored");
    assert_eq!(world.alice.share(&world.client, ORG, world.vault, &text, Some(&good)).await?.0, 200);
    world.serves().await?;
    // where nobody opened the org's vault, it takes none
    let text = world.alice.encrypt(PAYLOAD)?;
    let escrow = world.alice.seal(&world.client, "closed", &text).await?;
    let met = world.alice.share(&world.client, ORG, "closed", &text, Some(&escrow)).await?;
    assert_eq!(code(met), (409, "escrow_not_opted_in".to_owned()));
    assert_eq!(world.value("select count(*) from lpm.vault_claim where vault_id = 'closed'")?, "0");
    Ok(())
}

#[tokio::test]
async fn a_personal_pipeline_goes_on_when_its_vault_is_shared_with_an_org() -> Result<()> {
    for per_push in [true, false] {
        let world = World::new().await?;
        let (alice, client) = (&world.alice, &world.client);
        world.allow("personal").await?;
        if per_push {
            assert_eq!(alice.opt_in(client, world.vault, None, None).await?.0, 200);
            alice.push_with_key(client, world.vault, PAYLOAD).await?;
        } else {
            alice.push(client, world.vault).await?;
            alice.escrow(client, world.vault).await?;
        }
        world.serves().await?;
        let payload = r#"{"environments":{"production":{"API_KEY":"the org's"}}}"#;
        let shared = alice.encrypt(payload)?;
        assert_eq!(alice.share(client, ORG, world.vault, &shared, None).await?.0, 201);
        world.serves().await?;
        // what the org does with its own row is the org's
        let escrow = alice.seal(client, world.vault, &shared).await?;
        assert_eq!(alice.opt_in_for(client, Some(ORG), world.vault, Some(&escrow), None).await?.0, 200);
        assert_eq!(alice.share(client, ORG, world.vault, &alice.encrypt(payload)?, None).await?.0, 200);
        world.serves().await?;
        let asked: [&(dyn ToSql + Sync); 5] =
            [&Uuid::now_v7(), &NONE, &alice.token, &world.vault, &Some(ORG)];
        assert_eq!(answer(client, "disable_escrow", &asked).await?.0, 200);
        assert_eq!(world.stored()?, "off f");
        world.serves().await?;
    }
    Ok(())
}

#[tokio::test]
async fn only_leaders_open_and_close_an_orgs_vault_and_strangers_learn_nothing() -> Result<()> {
    let world = World::open().await?;
    let mallory = world.alice.account("mallory", "org")?;
    world.value(
        "select lpm.create_org('other'); select lpm.add_member('other', 'mallory', role => 'owner')",
    )?;
    let close = async |who: &Escrowed, org: &str, vault: &str| {
        let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &who.token, &vault, &Some(org)];
        answer(&world.client, "disable_escrow", &asked).await
    };
    let told = async |who: &Escrowed, org: &str| {
        let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &who.token, &world.vault, &Some(org)];
        answer(&world.client, "escrow_key", &asked).await
    };
    let open = async |who: &Escrowed, org: &str| {
        who.opt_in_for(&world.client, Some(org), world.vault, None, None).await
    };
    assert_eq!(code(open(&world.dora, ORG).await?), (403, "org_role".to_owned()));
    assert_eq!(code(close(&world.dora, ORG, world.vault).await?), (403, "org_role".to_owned()));
    assert_eq!(told(&world.dora, ORG).await?.1["escrow"], "aes", "every member seals when they share");
    for ask in ["open", "close", "told"] {
        let met = async |org: &str| match ask {
            "open" => open(&mallory, org).await,
            "close" => close(&mallory, org, world.vault).await,
            _ => told(&mallory, org).await,
        };
        let (theirs, nobodys) = (met(ORG).await?, met("no-such-org").await?);
        assert_eq!((theirs.0, nobodys.0), (404, 404), "{ask}: {}", theirs.1);
        assert_eq!(theirs.1.to_string().replace(ORG, "no-such-org"), nobodys.1.to_string(), "{ask}");
    }
    // another org that she leads, and this org's vault id
    assert_eq!(code(open(&mallory, "other").await?), (409, "vault_claimed".to_owned()));
    assert_eq!(told(&mallory, "other").await?.1["escrow"], "off");
    assert_eq!(code(close(&mallory, "other", world.vault).await?), (404, "org_vault_unknown".to_owned()));
    world.serves().await?;
    assert_eq!(close(&world.alice, ORG, world.vault).await?.0, 200);
    assert_eq!(world.pull().await?.code(), "escrow_off");
    Ok(())
}

#[tokio::test]
async fn an_orgs_vault_goes_by_the_orgs_plan_and_has_no_machines_key() -> Result<()> {
    let world = World::open().await?;
    let sealed = world.alice.sealed(&world.client, world.vault).await?;
    let wrapping = async |org: Option<&str>| {
        let (kind, none) = (None::<&str>, None::<bool>);
        let asked: [&(dyn ToSql + Sync); 9] =
            [&Uuid::now_v7(), &NONE, &world.alice.token, &world.vault, &sealed, &kind, &NONE, &none, &org];
        answer(&world.client, "put_escrow", &asked).await
    };
    assert_eq!(code(wrapping(Some(ORG)).await?), (400, "bad_request".to_owned()));
    // as the published client's `allow` sends it, from a machine that pushed nothing of its own
    let (status, body) = wrapping(None).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("escrow_org_vault")), "{body}");
    assert!(
        body["hint"].as_str().is_some_and(|hint| hint.contains("lpm env oidc allow --org acme")),
        "{body}"
    );
    assert_eq!(world.value("select count(*) from lpm.vault_sync where user_id is not null")?, "0");
    world.value("select lpm.set_plan('alice', 'free')")?;
    world.serves().await?;
    world.value(&format!("select lpm.set_plan('{ORG}', 'free')"))?;
    let (status, body) = world.alice.opt_in_for(&world.client, Some(ORG), world.vault, None, None).await?;
    assert_eq!(
        (status, body["error"].as_str()),
        (403, Some("CI escrow requires a Pro or Org plan")),
        "{body}"
    );
    assert_eq!(world.stored()?, "aes t", "a downgrade keeps what is there");
    Ok(())
}

#[tokio::test]
async fn an_orgs_version_is_brought_back_for_those_who_are_still_there() -> Result<()> {
    let world = World::open().await?;
    let late = world.alice.account("late", "free")?;
    world.value(&format!("select lpm.add_member('{ORG}', 'late')"))?;
    assert_eq!(world.share(false).await?.0, 200);
    let restore = async |who: &Escrowed, version: i32, expected: Option<i32>, org: Option<&str>| {
        let asked: [&(dyn ToSql + Sync); 7] =
            [&Uuid::now_v7(), &NONE, &who.token, &world.vault, &version, &expected, &org];
        answer(&world.client, "restore_version", &asked).await
    };
    let holders = |version: i32| {
        world.value(&format!("select coalesce(string_agg(a.handle, ' ' order by a.handle), '') from lpm.vault_org_keys k join lpm.account a on a.id = k.user_id where k.version = {version}"))
    };
    assert_eq!((holders(1)?, holders(2)?), ("alice dora".to_owned(), "alice dora late".to_owned()));
    assert_eq!(
        code(restore(&world.alice, 1, None, None).await?),
        (404, "vault_unknown".to_owned()),
        "of her own she has none"
    );
    assert_eq!(
        code(restore(&world.dora, 1, Some(1), Some(ORG)).await?),
        (409, "org_version_conflict".to_owned())
    );
    assert_eq!(code(restore(&world.dora, 7, None, Some(ORG)).await?), (404, "version_unknown".to_owned()));
    world.value(&format!("select lpm.set_sharing('{ORG}', 'maintainer')"))?;
    assert_eq!(code(restore(&world.dora, 1, None, Some(ORG)).await?), (403, "org_role".to_owned()));
    world.value(&format!("select * from lpm.remove_member('{ORG}', 'dora')"))?;
    assert_eq!(code(restore(&world.dora, 1, None, Some(ORG)).await?), (404, "org_unknown".to_owned()));
    world.value(&format!("select lpm.add_member('{ORG}', 'dora')"))?;

    let (status, body) = restore(&world.alice, 1, Some(2), Some(ORG)).await?;
    assert_eq!((status, &body["version"], &body["status"]), (200, &json!(3), &json!("restored")), "{body}");
    assert_eq!(holders(3)?, "alice", "who left has lost their copy, and who came since had none");
    world.serves().await?;
    let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &late.token, &world.vault, &Some(ORG)];
    let (status, body) = answer(&world.client, "list_versions", &asked).await?;
    let versions: Vec<_> = body["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| (v["version"].clone(), v["author"].clone()))
        .collect();
    let alices = json!("alice");
    assert_eq!(
        (status, versions),
        (200, vec![(json!(3), alices.clone()), (json!(2), alices.clone()), (json!(1), alices)])
    );
    // the DBA's way keeps the same rules
    assert_eq!(world.value(&format!("select lpm.restore_version('{}', 2, '{ORG}')", world.vault))?, "4");
    assert_eq!(holders(4)?, "alice late");
    assert_eq!(world.pull().await?.code(), "org_share_without_escrow", "version 2 came without a key");
    let trail = "select string_agg(concat_ws(' ', action, decision, reason), ', ' order by id) from lpm.audit_log where action like '%restore' and owner_org_id is not null";
    assert_eq!(
        world.value(trail)?,
        "restore denied org_version_conflict, restore denied org_role, restore done, vault_restore done"
    );
    Ok(())
}

#[tokio::test]
async fn copies_of_an_orgs_keys_are_kept_as_long_as_their_version() -> Result<()> {
    let world = World::open().await?;
    for _ in 0..12 {
        world.alice.share_with_key(&world.client, ORG, world.vault, PAYLOAD).await?;
    }
    let kept =
        "select string_agg(distinct k.version::text, ' ') from lpm.vault_org_keys k where k.version not in (
        select version from lpm.vault_version union select version from lpm.vault_sync)";
    assert_eq!(world.value(&format!("select coalesce(({kept}), '')"))?, "");
    assert_eq!(world.value("select count(distinct version) from lpm.vault_org_keys")?, "10");
    let asked: [&(dyn ToSql + Sync); 5] =
        [&Uuid::now_v7(), &NONE, &world.alice.token, &world.vault, &Some(ORG)];
    assert_eq!(answer(&world.client, "disable_escrow", &asked).await?.0, 200);
    assert_eq!(
        world.value("select count(*) from lpm.vault_version where ci_escrow_wrapping_key is not null")?,
        "0"
    );
    Ok(())
}
