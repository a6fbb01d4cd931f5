//! A request to every endpoint that the gateway documents, filled with somebody's ids.

use anyhow::{Context, Result, bail};
use lpm_core::envelope::share::wrap_for_member;
use lpm_core::envelope::{aead, vault};
use lpm_core::secret::Secret;
use openssl::base64::encode_block;
use serde_json::{Value, json};
use uuid::Uuid;

/// What a request may name.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    /// A personal vault.
    pub(crate) vault: String,
    /// An org.
    pub(crate) org: String,
    /// A vault of that org.
    pub(crate) org_vault: String,
    /// A policy.
    pub(crate) policy: String,
    /// A login session.
    pub(crate) session: String,
    /// A pairing code.
    pub(crate) code: String,
    /// A member.
    pub(crate) handle: String,
    /// The same member.
    pub(crate) user: Uuid,
}

impl Ids {
    /// Of the same form, and nobody's.
    pub(crate) fn nowhere() -> Self {
        Self {
            vault: Uuid::new_v4().to_string(),
            org: "none".to_owned(),
            org_vault: Uuid::new_v4().to_string(),
            policy: Uuid::new_v4().to_string(),
            session: Uuid::new_v4().to_string(),
            code: "ZZZZZZ".to_owned(),
            handle: "nobody".to_owned(),
            user: Uuid::new_v4(),
        }
    }

    /// A text without these ids, for comparison.
    pub(crate) fn hidden(&self, text: &str) -> String {
        let user = self.user.to_string();
        let ids = [
            (&self.vault, "{vault}"),
            (&self.org_vault, "{org vault}"),
            (&self.policy, "{policy}"),
            (&self.session, "{session}"),
            (&self.code, "{code}"),
            (&user, "{user}"),
        ];
        let text = ids.iter().fold(text.to_owned(), |text, (id, place)| text.replace(id.as_str(), place));
        // short words, so only where a text names them
        let names = [(&self.org, "{org}"), (&self.handle, "{handle}")];
        names.iter().fold(text, |text, (name, place)| {
            text.replace(&format!("`{name}`"), &format!("`{place}`"))
                .replace(&format!("--org {name}"), "--org {org}")
        })
    }

    /// The address of an operation, with its places filled in.
    pub(crate) fn address(&self, operation: &str, parameters: &[String]) -> String {
        let path = operation.split_once(' ').map_or(operation, |(_, path)| path);
        let vault = if path.contains("/orgs/") { &self.org_vault } else { &self.vault };
        let path = path
            .replace("{vault}", vault)
            .replace("{org}", &self.org)
            .replace("{policy}", &self.policy)
            .replace("{id}", &self.session)
            .replace("{code}", &self.code)
            .replace("{handle}", &self.handle);
        let query: Vec<String> = parameters
            .iter()
            .filter_map(|name| match name.as_str() {
                "vaultId" => Some(format!("vaultId={}", self.vault)),
                _ => None,
            })
            .collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// The body of an operation that has one.
    pub(crate) fn body(&self, operation: &str) -> Result<Value> {
        Ok(match operation {
            "POST /api/vaults/{vault}/sync" => {
                let (blob, wrapped) = sealed()?;
                json!({"encryptedBlob": blob, "wrappedKey": wrapped, "force": true})
            }
            "POST /api/vaults/{vault}/restore" => json!({"version": 1}),
            "POST /api/orgs/{org}/vaults/{vault}" => {
                let (blob, _) = sealed()?;
                json!({"encryptedBlob": blob, "force": true,
                       "wrappedKeys": [{"userId": self.user, "wrappedKey": wrapped_for_nobody()?}]})
            }
            "POST /api/vault/oidc/policies" => {
                json!({"vaultId": self.vault, "provider": "github", "subject": "repo:evil/web", "allowedBranches": [],
                       "allowedEnvironments": [], "allowForks": false})
            }
            "POST /api/vault/oidc/escrow" => {
                json!({"vaultId": self.vault, "wrappingKeyHex": "0a".repeat(32)})
            }
            "POST /api/vault/oidc/repin" => json!({"vaultId": self.vault, "subject": "repo:acme/web"}),
            "POST /api/vault/oidc/explain" => {
                json!({"vaultId": self.vault, "env": "production", "claims": {"repository": "acme/web", "ref": "refs/heads/main"}})
            }
            "POST /api/vault/oidc" | "POST /api/vault/oidc/pull" => {
                json!({"oidcToken": "none", "vaultId": self.vault, "env": "production"})
            }
            "POST /api/users/me/public-key" => {
                json!({"publicKey": encode_block(&aead::public_key(&aead::random()?)?)})
            }
            "PUT /api/orgs/{org}/members/{handle}" => json!({"role": "developer"}),
            "PUT /api/orgs/{org}/settings" => json!({"mayShare": "owner"}),
            "POST /api/orgs/{org}/invitations" => json!({"handle": "mallory", "role": "developer"}),
            "POST /api/vault/pair/{code}" => {
                json!({"encryptedWrappingKey": sealed()?.1, "ephemeralPublicKey": p256_public_key()?})
            }
            "POST /api/vault/pair" => json!({"browserPublicKey": p256_public_key()?}),
            "POST /api/cli/exchange" => json!({"code": "none"}),
            "POST /api/cli/refresh" => json!({"refreshToken": "none"}),
            "POST /api/registry/tokens/revoke" => json!({"token": "none"}),
            "POST /api/orgs/{org}/invitations/accept"
            | "POST /api/vault/pair/{code}/consume"
            | "POST /api/vault/pair/revoke-all"
            | "POST /api/registry/-/token/rotate" => json!({}),
            _ if operation.contains("/api/vault/platforms/") => json!({"vaultId": self.vault}),
            _ => bail!("`{operation}` takes a body, and this test has none for it"),
        })
    }
}

/// A blob and its wrapped key, fresh.
pub(crate) fn sealed() -> Result<(String, String)> {
    let (key, wrapping) = (secret()?, secret()?);
    Ok((
        vault::seal_blob(&key, &aead::random()?, b"{}")?,
        vault::wrap_key(&wrapping, &aead::random()?, &key)?,
    ))
}

fn secret() -> Result<Secret> {
    Ok(Secret::new(aead::random::<32>()?.to_vec()))
}

/// A key that is wrapped for whoever that is.
pub(crate) fn wrapped_for_nobody() -> Result<String> {
    let recipient = aead::public_key(&aead::random()?)?;
    Ok(wrap_for_member(&recipient, &aead::random()?, &aead::random()?, &secret()?)?)
}

/// A browser's key: base64 of an uncompressed point.
pub(crate) fn p256_public_key() -> Result<String> {
    use openssl::bn::BigNumContext;
    use openssl::ec::{EcGroup, EcKey, PointConversionForm};
    let group = EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1)?;
    let key = EcKey::generate(&group)?;
    let mut context = BigNumContext::new()?;
    let point = key.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)?;
    Ok(encode_block(&point))
}

/// An operation of the document: its name, the names of its query parameters, whether it has a JSON body.
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) has_body: bool,
}

/// Every operation that answers JSON, those that only look first: a request must not take away what a later one is to
/// find.
pub(crate) fn operations(document: &Value) -> Result<Vec<Operation>> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for (method, operation) in methods.as_object().context("a path's methods")? {
            // a page for people: it takes a form
            if path == "/cli/login" {
                continue;
            }
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters
                .filter(|parameter| parameter["in"] == "query")
                .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
                .collect();
            all.push(Operation {
                name: format!("{} {path}", method.to_uppercase()),
                parameters,
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    // What claims an id comes after what asks about it: an id that is nobody's becomes the caller's, as it should. What
    // ends the caller's own session or token comes last.
    let rank = |name: &str| match name.split_once(' ') {
        Some(("GET", _)) => 0,
        Some((_, "/api/registry/-/token/rotate" | "/api/registry/tokens/revoke")) => 5,
        Some((_, "/api/vault/pair/revoke-all")) => 4,
        Some(("DELETE", _)) => 2,
        Some((_, "/api/vaults/{vault}/sync" | "/api/vault/oidc/policies" | "/api/vault/oidc/escrow")) => 3,
        _ => 1,
    };
    all.sort_by_key(|operation| rank(&operation.name));
    Ok(all)
}
