//! Alice, who has one of everything, and strangers.

use crate::requests::{Ids, operations, p256_public_key, sealed};
use anyhow::{Context, Result, ensure};
use lpm_core::envelope::aead;
use lpm_core::envelope::share::wrap_for_member;
use lpm_core::secret::Secret;
use lpm_tests::gateway::Reply;
use lpm_tests::signin::SignIn;
use lpm_tests::stack::Stack;
use openssl::base64::encode_block;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// What stands in everything of alice's that has room for a text.
const MARKER: &str = "alices-marker";

/// What was asked and answered.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Met {
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) struct World {
    pub(crate) stack: Stack,
    pub(crate) alices: Ids,
    /// Texts that nobody but alice may see, and for the second list nobody outside the org.
    own: Vec<String>,
    shared: Vec<String>,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let token = stack.seed.alice.clone();
        let (vault, org_vault) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let post = async |path: &str, body: Value| -> Result<Reply> {
            let reply = stack.gateway.post(path, Some(&token), &body).await?;
            ensure!(reply.status.is_success(), "{path}: {} {}", reply.status, reply.text());
            Ok(reply)
        };
        let whoami = stack.gateway.get("/api/registry/-/whoami", Some(&token)).await?;
        let user = Uuid::parse_str(&whoami.member("id"))?;

        let (mut own, mut shared) = (Vec::new(), Vec::new());
        let sync = format!("/api/vaults/{vault}/sync");
        for _ in 0..2 {
            let (blob, wrapped) = sealed()?;
            post(&sync, json!({"encryptedBlob": blob, "wrappedKey": wrapped, "force": true, "name": MARKER}))
                .await?;
            own.extend([blob, wrapped]);
        }
        let policy = json!({"vaultId": vault, "provider": "github", "subject": "repo:acme/alices-marker", "allowedBranches": ["main"],
            "allowedEnvironments": ["production"], "allowForks": false});
        let policy = post("/api/vault/oidc/policies", policy).await?.member("id");
        own.push(MARKER.to_owned());

        let key = aead::random::<32>()?;
        let public = aead::public_key(&key)?;
        post("/api/users/me/public-key", json!({"publicKey": encode_block(&public)})).await?;
        shared.push(encode_block(&public));
        let (blob, _) = sealed()?;
        let wrapped =
            wrap_for_member(&public, &aead::random()?, &aead::random()?, &Secret::new(key.to_vec()))?;
        let share = json!({"encryptedBlob": blob, "name": "orgs-marker", "wrappedKeys": [{"userId": user, "wrappedKey": wrapped}]});
        post(&format!("/api/orgs/acme/vaults/{org_vault}"), share).await?;
        post("/api/orgs/acme/invitations", json!({"handle": "invited-marker", "role": "developer"})).await?;
        own.push(wrapped);
        shared.extend([blob, "orgs-marker".to_owned(), "invited-marker".to_owned()]);

        let session = SignIn::device(MARKER).session(&stack.gateway, &token).await?;
        let listed = stack.gateway.get("/api/cli/sessions", Some(&session.token)).await?;
        let id = listed.json()["sessions"][0]["id"].as_str().context("a session")?.to_owned();
        let browser = p256_public_key()?;
        let pairing = json!({"browserPublicKey": browser, "deviceLabel": MARKER});
        let pairing = stack.gateway.post("/api/vault/pair", Some(&session.token), &pairing).await?;
        own.push(browser);
        let alices = Ids {
            vault,
            org: "acme".to_owned(),
            org_vault,
            policy,
            session: id,
            code: pairing.member("code"),
            handle: "alice".to_owned(),
            user,
        };
        ensure!(alices.code.len() == 6, "no pairing: {}", pairing.text());
        Ok(Self { stack, alices, own, shared })
    }

    /// A new account, signed in: some endpoints take sessions only.
    pub(crate) async fn stranger(&self, handle: &str) -> Result<String> {
        let token = self.stack.account(handle, "org").await?;
        Ok(SignIn::device(handle).session(&self.stack.gateway, &token).await?.token)
    }

    /// Whether a text shows anything of alice's or of her org's.
    pub(crate) fn shows_alices(&self, text: &str) -> bool {
        self.shows_alices_own(text) || self.shared.iter().any(|marker| text.contains(marker))
    }

    /// Whether a text shows what not even other members may see.
    pub(crate) fn shows_alices_own(&self, text: &str) -> bool {
        // a path may stand in an answer's text, percent-encoded or not; a marker stands in none
        self.own.iter().any(|marker| text.contains(marker) || text.contains(&marker.replace('/', "\\/")))
    }

    /// Everything that is alice's or her org's, except the audit trail, in one hash.
    pub(crate) fn alices_rows(&self) -> Result<String> {
        let of_alice = format!(
            "(select id from lpm.account where handle = 'alice' union all select id from lpm.org where slug = '{}')",
            self.alices.org
        );
        let rows = [
            format!("select t::text from lpm.account t where id in {of_alice}"),
            format!("select t::text from lpm.org t where id in {of_alice}"),
            format!(
                "select t::text from lpm.org_member t join lpm.account a on a.id = t.user_id where a.handle = 'alice' and org_id in {of_alice}"
            ),
            format!("select t::text from lpm.org_invitation t where org_id in {of_alice}"),
            format!("select t::text from lpm.user_public_keys t where user_id in {of_alice}"),
            format!("select t::text from lpm.vault_sync t where coalesce(user_id, org_id) in {of_alice}"),
            format!(
                "select t::text from lpm.vault_version t join lpm.vault_sync v on v.id = t.vault where coalesce(v.user_id, v.org_id) in {of_alice}"
            ),
            format!(
                "select t::text from lpm.vault_org_keys t join lpm.vault_sync v on v.id = t.vault where v.org_id in {of_alice}"
            ),
            format!("select t::text from lpm.vault_claim t where coalesce(user_id, org_id) in {of_alice}"),
            format!("select t::text from lpm.oidc_policy t where coalesce(user_id, org_id) in {of_alice}"),
            format!("select t::text from lpm.oidc_subject_pin t where holder in {of_alice}"),
            format!("select t::text from lpm.access_token t where user_id in {of_alice}"),
            format!("select t::text from lpm.session t where user_id in {of_alice}"),
            format!("select t::text from lpm.pairing_session t where user_id in {of_alice}"),
        ];
        self.stack.database().value(&format!(
            "select md5(string_agg(row, e'\\n' order by row)) from ({}) rows (row)",
            rows.join(" union all ")
        ))
    }

    /// Asks every endpoint for what these ids name.
    pub(crate) async fn walk(&self, token: &str, ids: &Ids) -> Result<Vec<Met>> {
        let document = self.stack.gateway.get("/openapi.json", None).await?.json();
        let mut all = Vec::new();
        for operation in operations(&document)? {
            let (method, _) = operation.name.split_once(' ').context("an operation's name")?;
            let method: Method = method.parse()?;
            let mut addresses = vec![ids.address(&operation.name, &operation.parameters)];
            // an endpoint that takes an org's vault as well is asked for both
            if operation.parameters.iter().any(|name| name == "org") {
                let org = Ids { vault: ids.org_vault.clone(), ..ids.clone() };
                let address = org.address(&operation.name, &operation.parameters);
                let joint = if address.contains('?') { '&' } else { '?' };
                addresses.push(format!("{address}{joint}org={}", ids.org));
            }
            for address in addresses {
                let mut request = self.stack.gateway.request(method.clone(), &address).bearer_auth(token);
                if operation.has_body {
                    request = request.json(&ids.body(&operation.name)?);
                }
                let reply = Reply::read(request.send().await?).await?;
                all.push(Met {
                    operation: operation.name.clone(),
                    status: reply.status.as_u16(),
                    text: reply.text(),
                });
            }
        }
        Ok(all)
    }
}
