//! What every request starts from: a vault that a job may pull, and ways to see that nothing has changed.

use crate::table::{Identity, Route};
use anyhow::{Context, Result, ensure};
use lpm_core::bearer::{self, Kind};
use lpm_core::envelope::{aead, share, vault};
use lpm_core::secret::Secret;
use lpm_tests::database::Database;
use lpm_tests::escrowed::PAYLOAD;
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::TokenRequest;
use lpm_tests::signin::{Session, SignIn};
use lpm_tests::stack::{ORG, Seed, Shared, shared};
use reqwest::header::AUTHORIZATION;
use reqwest::{Body, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use uuid::Uuid;

/// Longer than anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Every row that an account can change.
const ROWS: &str = "select md5(string_agg(row, e'\\n' order by row)) from (
    select 'account ' || t::text from lpm.account t union all select 'member ' || t::text from lpm.org_member t
    union all select 'token ' || t::text from lpm.access_token t where t.name <> 'spare'
    union all select 'session ' || t::text from lpm.session t where t.device <> 'spare' union all select 'claim ' || t::text from lpm.vault_claim t
    union all select 'org ' || t::text from lpm.org t union all select 'invitation ' || t::text from lpm.org_invitation t
    union all select 'public key ' || t::text from lpm.user_public_keys t union all select 'copy ' || t::text from lpm.vault_org_keys t
    union all select 'vault ' || t::text from lpm.vault_sync t union all select 'version ' || t::text from lpm.vault_version t
    union all select 'blob ' || t::text from lpm.blob_seen t union all select 'policy ' || t::text from lpm.oidc_policy t
    union all select 'pin ' || t::text from lpm.oidc_subject_pin t union all select 'issuer ' || t::text from lpm.oidc_issuer t
) rows (row)";

/// The pairing code that a browser waits with.
const CODE: &str = "ABC234";

/// A token of this kind that only its holder knows.
fn made(kind: Kind) -> Result<String> {
    Ok(bearer::token(kind, &aead::random()?).expose_str().context("ASCII")?.to_owned())
}

/// What the database stores of it, as SQL.
fn stored(token: &str) -> String {
    format!(r"\x{}", hex::encode(bearer::stored_hash(&bearer::hash(token.as_bytes()))))
}

/// Invitations to the org that the requests name: accepting one changes nothing for who is a member already.
const INVITED: &str = "insert into lpm.org_invitation (org_id, handle, role, invited_by) select o.id, 'alice', 'developer', a.id
      from lpm.org o, lpm.account a where o.slug = 'acme' and a.handle = 'bob' on conflict do nothing";
const BOB_INVITED: &str =
    "insert into lpm.org_invitation (org_id, handle, role, invited_by) select o.id, 'bob', 'developer', a.id
      from lpm.org o, lpm.account a where o.slug = 'acme' and a.handle = 'alice' on conflict do nothing";
const BOB_JOINED: &str = "select lpm.add_member('acme', 'bob')";

/// Alice's private key.
const MEMBER: [u8; 32] = [7; 32];

/// A vault of `alice` that is open to `main` of `acme/web`, and the gateway that all requests go to.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) gateway: Gateway,
    pub(crate) vault: String,
    pub(crate) owner: String,
    pub(crate) policy: String,
    /// A login session, whose browser waits with a pairing code.
    session: Session,
    session_id: String,
    alice: String,
    wrapping_key: Secret,
    superuser: Client,
    shared: &'static Shared,
    _logs: TempDir,
}

impl World {
    /// With a gateway as it comes.
    pub(crate) async fn new() -> Result<Self> {
        Self::with_gateway(|options| options).await
    }

    /// With a gateway that is started otherwise.
    pub(crate) async fn with_gateway(
        options: impl FnOnce(gateway::Options) -> gateway::Options,
    ) -> Result<Self> {
        let shared = shared().await?;
        let Seed { gateway_login, alice, .. } = shared.seed.clone();
        let database = shared.cluster.fresh_database(Some(shared.seed.database.name())).await?;
        let logs = tempfile::tempdir()?;
        let gateway = options(gateway::Options::new(database.url_as(&gateway_login)))
            .start(&logs.path().join("gateway.log"))?;
        let superuser = database.connect().await?;
        let session = SignIn::default().session(&gateway, &alice).await?;
        let session_id = database.value("select id from lpm.session")?;
        let mut world = Self {
            database,
            gateway,
            vault: Uuid::new_v4().to_string(),
            owner: String::new(),
            policy: String::new(),
            session,
            session_id,
            alice,
            wrapping_key: Secret::new(aead::random::<32>()?.to_vec()),
            superuser,
            shared,
            _logs: logs,
        };
        let pushed = world.push(&world.fresh_push()?).await?;
        ensure!(pushed.status == 201, "push: {}", pushed.text());
        world.owner = pushed.member("owner");
        for (path, body) in [("policies", world.policy()), ("escrow", world.escrow())] {
            let reply =
                world.gateway.post(&format!("/api/vault/oidc/{path}"), Some(world.alice()), &body).await?;
            ensure!(reply.status.is_success(), "{path}: {}", reply.text());
            if path == "policies" {
                world.policy = reply.member("id");
            }
        }
        world.wait_with_the_code()?;
        let path = world.fill("/api/orgs/{org}/vaults/{vault}");
        let shared = world.gateway.post(&path, Some(world.alice()), &world.fresh_share()?).await?;
        ensure!(shared.status == 201, "share: {}", shared.text());
        let key = json!({"publicKey": world.public_key()?});
        let registered = world.gateway.post("/api/users/me/public-key", Some(world.alice()), &key).await?;
        ensure!(registered.status == 200, "public key: {}", registered.text());
        world.superuser.batch_execute("select lpm.create_user('bob')").await?;
        world.superuser.batch_execute(BOB_JOINED).await?;
        // the first grant records the repository's ids, and the later ones change nothing
        world.ci_token().await?;
        Ok(world)
    }

    /// Alice's token.
    pub(crate) fn alice(&self) -> &str {
        &self.alice
    }

    /// A push of a fresh ciphertext, with the members that have to be there.
    pub(crate) fn fresh_push(&self) -> Result<Value> {
        let key = Secret::new(aead::random::<32>()?.to_vec());
        let blob = vault::seal_blob(&key, &aead::random()?, PAYLOAD.as_bytes())?;
        let wrapped = vault::wrap_key(&self.wrapping_key, &aead::random()?, &key)?;
        Ok(json!({"encryptedBlob": blob, "wrappedKey": wrapped}))
    }

    /// The version that a pull gets.
    pub(crate) fn newest_version(&self) -> Result<i32> {
        let sql = format!(
            "select version from lpm.vault_sync where vault_id = '{}' and user_id is not null",
            self.vault
        );
        Ok(self.database.value(&sql)?.parse()?)
    }

    /// A share of a fresh ciphertext with alice, with the members that have to be there.
    pub(crate) fn fresh_share(&self) -> Result<Value> {
        let key = Secret::new(aead::random::<32>()?.to_vec());
        let blob = vault::seal_blob(&key, &aead::random()?, PAYLOAD.as_bytes())?;
        let wrapped =
            share::wrap_for_member(&aead::public_key(&MEMBER)?, &aead::random()?, &aead::random()?, &key)?;
        Ok(json!({"encryptedBlob": blob, "wrappedKeys": [{"userId": self.owner, "wrappedKey": wrapped}]}))
    }

    /// Alice's public key.
    pub(crate) fn public_key(&self) -> Result<String> {
        Ok(openssl::base64::encode_block(&aead::public_key(&MEMBER)?))
    }

    /// A request for a policy as the published client sends it.
    pub(crate) fn policy(&self) -> Value {
        json!({"vaultId": self.vault, "provider": "github", "subject": "repo:acme/web",
               "allowedBranches": ["main"], "allowedEnvironments": ["production"], "allowForks": false})
    }

    /// A request for escrow as the published client sends it.
    pub(crate) fn escrow(&self) -> Value {
        json!({"vaultId": self.vault, "wrappingKeyHex": hex::encode(self.wrapping_key.expose())})
    }

    /// A fresh OIDC token of the job that may pull.
    pub(crate) fn oidc_token(&self) -> Result<String> {
        self.shared.issuer.mint(&TokenRequest::github().repository("acme/web"))
    }

    /// A fresh CI token of that job.
    pub(crate) async fn ci_token(&self) -> Result<String> {
        let body = json!({"oidcToken": self.oidc_token()?, "vaultId": self.vault, "env": "production"});
        let reply = self.gateway.post("/api/vault/oidc", None, &body).await?;
        ensure!(reply.status == 200, "exchange: {}", reply.text());
        Ok(reply.member("token"))
    }

    /// A fresh token of alice that nobody misses, without rights: one with rights unpairs the session when it is revoked.
    pub(crate) fn spare_token(&self) -> Result<String> {
        self.database.value("select lpm.create_token('alice', name => 'spare', scope => 'none')")
    }

    /// A fresh login code of alice.
    pub(crate) fn login_code(&self) -> Result<String> {
        let code = made(Kind::LoginCode)?;
        self.database.value(&format!(
            "insert into lpm.login_code (stored_hash, user_id, pat_id, device, expires_at)
             select '{}', user_id, id, 'spare', clock_timestamp() + interval '1 minute' from lpm.access_token where name = 'laptop' returning 1",
            stored(&code)
        ))?;
        Ok(code)
    }

    /// The refresh token of a fresh session.
    pub(crate) fn refresh_token(&self) -> Result<String> {
        let token = made(Kind::Refresh)?;
        self.database.value(&format!(
            "with begun as (insert into lpm.session (user_id, pat_id, device, expires_at)
                select user_id, id, 'spare', clock_timestamp() + interval '1 day' from lpm.access_token where name = 'laptop' returning id)
             insert into lpm.session_refresh (stored_hash, session_id, generation, expires_at)
             select '{}', id, 1, clock_timestamp() + interval '1 day' from begun returning 1",
            stored(&token)
        ))?;
        Ok(token)
    }

    /// Has the session's browser wait with [`CODE`], whatever became of it before.
    pub(crate) fn wait_with_the_code(&self) -> Result<()> {
        self.database.value(&format!(
            "delete from lpm.pairing_session where session_id = '{id}';
             insert into lpm.pairing_session (user_id, session_id, code, browser_public_key, expires_at)
             select user_id, id, '{CODE}', 'key', clock_timestamp() + interval '5 minutes' from lpm.session where id = '{id}' returning 1",
            id = self.session_id
        ))?;
        Ok(())
    }

    async fn push(&self, body: &Value) -> Result<Reply> {
        let path = format!("/api/vaults/{}/sync", self.vault);
        self.gateway.post(&path, Some(self.alice()), body).await
    }

    /// A path with this world's ids.
    pub(crate) fn fill(&self, path: &str) -> String {
        let path = path.replace("{vault}", &self.vault).replace("{policy}", &self.policy);
        let path = path.replace("{org}", ORG).replace("{handle}", "bob");
        path.replace("{id}", &self.session_id).replace("{code}", CODE)
    }

    /// The path with this world's ids.
    pub(crate) fn path(&self, route: &Route) -> String {
        self.fill(route.path())
    }

    /// Path and query with this world's ids.
    pub(crate) fn target(&self, route: &Route) -> String {
        format!("{}{}", self.path(route), route.query.replace("{vault}", &self.vault))
    }

    /// A bearer token that the route takes.
    pub(crate) async fn bearer(&self, route: &Route) -> Result<Option<String>> {
        Ok(match route.identity {
            Identity::Anyone | Identity::Nobody | Identity::Oidc => None,
            Identity::Reader | Identity::Writer => Some(self.alice().to_owned()),
            Identity::Holder => Some(self.spare_token()?),
            Identity::Session => Some(self.session.token.clone()),
            Identity::Job => Some(self.ci_token().await?),
        })
    }

    /// A request to the route with a good identity, for the caller to spoil and to send.
    pub(crate) async fn ask(&self, route: &Route) -> Result<RequestBuilder> {
        // what the last one has used up
        match route.name {
            "POST /api/orgs/{org}/invitations/accept" => self.superuser.batch_execute(INVITED).await?,
            "DELETE /api/orgs/{org}/invitations/{handle}" => {
                self.superuser.batch_execute(BOB_INVITED).await?
            }
            "DELETE /api/orgs/{org}/members/{handle}" => self.superuser.batch_execute(BOB_JOINED).await?,
            _ => {}
        }
        let request = self.gateway.request(Method::try_from(route.method())?, &self.target(route));
        Ok(match self.bearer(route).await? {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        })
    }

    /// The answer to this body from somebody whom the route lets in.
    pub(crate) async fn post(&self, route: &Route, body: impl Into<Body>) -> Result<Reply> {
        send(self.ask(route).await?.body(body)).await
    }

    /// What is stored, as one text to compare.
    pub(crate) async fn rows(&self) -> Result<String> {
        Ok(self.superuser.query_one(ROWS, &[]).await?.get(0))
    }

    /// Whether anything is stored or audited under this vault id.
    pub(crate) async fn knows(&self, vault: &str) -> Result<bool> {
        let known = "select exists (select from lpm.vault_sync where vault_id = $1)
                         or exists (select from lpm.vault_claim where vault_id = $1)
                         or exists (select from lpm.audit_log where vault_id = $1)";
        Ok(self.superuser.query_one(known, &[&vault]).await?.get(0))
    }

    /// After whatever came: nothing has changed since `before`, nothing went wrong inside, and honest people and
    /// jobs are served.
    pub(crate) async fn has_survived(&self, before: &str) -> Result<()> {
        assert_eq!(self.rows().await?, before, "something has changed");
        let log = self.gateway.log();
        for sign in ["panicked", " ERROR ", " WARN ", "http.status=5"] {
            assert!(!log.contains(sign), "the gateway's log has `{sign}`:\n{log}");
        }
        let mut push = self.fresh_push()?;
        push["force"] = true.into();
        let pushed = self.push(&push).await?;
        ensure!(pushed.status == 200, "push: {}", pushed.text());
        let pulled =
            self.gateway.get(&format!("/api/vaults/{}/sync", self.vault), Some(self.alice())).await?;
        assert_eq!(pulled.member("encryptedBlob"), push["encryptedBlob"]);
        let body = json!({"oidcToken": self.oidc_token()?, "vaultId": self.vault, "env": "production"});
        let job = self.gateway.post("/api/vault/oidc/pull", None, &body).await?;
        assert_eq!(job.json()["vars"]["API_KEY"], lpm_tests::escrowed::SECRET, "{}", job.text());
        Ok(())
    }

    /// Waits until something holds of the gateway that has no event.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Gateway) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !holds(&self.gateway)? {
            ensure!(Instant::now() < deadline, "never: {what}; the log says:\n{}", self.gateway.log());
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// The answer, which has to come in time.
pub(crate) async fn send(request: RequestBuilder) -> Result<Reply> {
    let response = request.timeout(DEADLINE).send().await?;
    Reply::read(response).await
}

/// An error as every published client reads it.
#[derive(Deserialize)]
struct Refused {
    error: String,
    code: String,
    hint: Option<String>,
    // a number in their place would keep `push` from reading the rest
    status: Option<String>,
    version: Option<i32>,
}

/// The reply is a refusal with this status, in the form that every client reads; its machine code.
pub(crate) fn refused(case: &str, reply: &Reply, status: u16) -> Result<String> {
    let shown = format!("{case}: {} {}", reply.status, reply.text());
    assert_eq!(reply.status.as_u16(), status, "{shown}");
    assert_eq!(reply.header("content-type"), "application/json", "{shown}");
    assert_eq!(reply.header("cache-control"), "no-store", "{shown}");
    Uuid::parse_str(&reply.header("x-request-id")).with_context(|| shown.clone())?;
    let refused: Refused = serde_json::from_slice(&reply.bytes).with_context(|| shown.clone())?;
    assert!(!refused.error.is_empty() && refused.hint.as_deref() != Some(""), "{shown}");
    assert!(refused.status.is_none() && refused.version.is_none(), "{shown}");
    assert!(!refused.error.chars().any(char::is_control), "{shown}");
    if status == 401 {
        assert_eq!(reply.header("www-authenticate"), "Bearer", "{shown}");
    }
    Ok(refused.code)
}
