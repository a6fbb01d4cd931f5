//! A gateway with an org: who asks is known by the token, keys and copies are kept by the rules of the server.

use super::Machine;
use super::gateway::{escrow_key, refusal};
use super::server::{Reply, Request, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The members of `acme`, in this order: token, handle, role. `mallory` is none.
pub(crate) const ALICE: (&str, &str, &str) = ("lpm_test_alice", "alice", "owner");
pub(crate) const BOB: (&str, &str, &str) = ("lpm_test_bob", "bob", "developer");
pub(crate) const CAROL: (&str, &str, &str) = ("lpm_test_carol", "carol", "developer");
pub(crate) const MALLORY: (&str, &str, &str) = ("lpm_test_mallory", "mallory", "developer");

/// What the server keeps.
#[derive(Default)]
pub(crate) struct Kept {
    /// Who is a member, by token.
    pub(crate) members: Vec<(&'static str, &'static str, &'static str)>,
    /// Registered keys, by token.
    pub(crate) keys: BTreeMap<String, String>,
    /// Each account's own copies: token and vault.
    pub(crate) own: BTreeMap<(String, String), Value>,
    /// The org's copy: the share's body, with its version.
    pub(crate) org: Option<Value>,
    /// The escrow of every vault: `off`, `aes` or `wrapping`.
    pub(crate) escrow: String,
}

/// A gateway of a team.
pub(crate) struct Team {
    pub(crate) server: Server,
    pub(crate) kept: Arc<Mutex<Kept>>,
}

impl Team {
    /// `alice` and `bob`.
    pub(crate) fn new() -> Self {
        Self::deviating(|_, _| None)
    }

    /// The same, where `deviates` may answer first.
    pub(crate) fn deviating(
        deviates: impl Fn(&Request, &mut Kept) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let kept = Kept { members: vec![ALICE, BOB], escrow: "off".into(), ..Kept::default() };
        let kept = Arc::new(Mutex::new(kept));
        let shared = Arc::clone(&kept);
        let server = Server::new(move |request, _| {
            let mut kept = shared.lock().expect("nobody panics with it");
            deviates(request, &mut kept).unwrap_or_else(|| kept.answer(request))
        });
        Self { server, kept }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.kept.lock().expect("nobody panics with it"));
    }

    /// A machine of this member, in a checkout of the same project.
    pub(crate) fn machine(&self, member: (&str, &str, &str)) -> Machine {
        let machine = Machine::new().with("LPM_REGISTRY_URL", &self.server.url).with("LPM_TOKEN", member.0);
        machine.write("lpm.json", r#"{"vault":"v1","name":"shop"}"#);
        machine
    }

    /// The last body that was sent to a path that ends so.
    #[track_caller]
    pub(crate) fn last(&self, method: &str, path: &str) -> Value {
        let requests = self.server.requests();
        let found =
            requests.iter().rfind(|request| request.line.starts_with(method) && request.line.ends_with(path));
        found.unwrap_or_else(|| panic!("no {method} …{path}")).json()
    }

    /// How often something was asked.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.server.lines().iter().filter(|asked| asked.starts_with(line)).count()
    }
}

pub(crate) fn id(token: &str) -> String {
    let number = [ALICE, BOB, CAROL, MALLORY].iter().position(|member| member.0 == token).unwrap_or(9);
    format!("0192f0c4-0000-4000-8000-00000000000{number}")
}

/// The token of a request.
pub(crate) fn token(request: &Request) -> String {
    let header = request.header("authorization").unwrap_or_default();
    header.trim_start_matches("Bearer ").to_owned()
}

impl Kept {
    /// What an honest server answers.
    pub(crate) fn answer(&mut self, request: &Request) -> Reply {
        let token = token(request);
        let signed = |body: Value| Reply::new(200, body.to_string()).signed(&token);
        let plain = |body: Value| Reply::new(200, body.to_string());
        let (method, path) = request.line.split_once(' ').expect("a request line");
        let (path, _query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<&str> = path.trim_start_matches("/api/").split('/').collect();
        if segments[0] == "orgs"
            && (segments[1] != "acme" || !self.members.iter().any(|member| member.0 == token))
        {
            return refusal(404, "org_unknown", &format!("no org `{}` of yours", segments[1]));
        }
        match (method, segments.as_slice()) {
            ("GET", ["vault", "oidc", "escrow-key"]) => escrow_key(&self.escrow),
            ("POST", ["vault", "oidc", "escrow"]) => plain(json!({"success": true, "escrow": "on"})),
            ("GET", ["users", "me", "public-key"]) => plain(json!({"publicKey": self.keys.get(&token)})),
            ("POST", ["users", "me", "public-key"]) => {
                let key = request.json()["publicKey"].as_str().expect("a key").to_owned();
                self.keys.insert(token, key);
                plain(json!({"success": true}))
            }
            ("GET", ["orgs", _, "members", "public-keys"]) => {
                let members = self.members.iter().map(|(token, handle, role)| {
                    let key = self.keys.get(*token);
                    json!({"userId": id(token), "handle": handle, "role": role, "publicKey": key, "hasPublicKey": key.is_some()})
                });
                plain(members.collect())
            }
            ("POST", ["orgs", _, "vaults", "v1"]) => {
                let mut body = request.json();
                let version = self.org.as_ref().map_or(0, |org| org["version"].as_i64().expect("a version"));
                if version > 0 && body["force"] != json!(true) && body["expectedVersion"] != json!(version) {
                    return refusal(
                        409,
                        "org_version_expected",
                        "`acme` already has another version of this vault",
                    );
                }
                body["version"] = json!(version + 1);
                self.org = Some(body);
                signed(json!({"version": version + 1, "status": "updated", "owner": id("org")}))
            }
            ("GET", ["orgs", _, "vaults", "v1"]) => {
                let Some(org) = &self.org else {
                    return refusal(404, "vault_unknown", "no vault `v1` of yours");
                };
                let wrapped = org["wrappedKeys"].as_array().expect("keys").iter();
                let own = wrapped
                    .filter(|key| key["userId"] == json!(id(&token)))
                    .map(|key| &key["wrappedKey"])
                    .next();
                let mut body = json!({"vaultId": "v1", "encryptedBlob": org["encryptedBlob"], "version": org["version"],
                                      "owner": id("org")});
                if let Some(own) = own {
                    body["wrappedKey"] = own.clone();
                }
                signed(body)
            }
            ("GET", ["orgs", _, "vaults"]) => plain(json!({"vaults": [
                {"vaultId": "v1", "version": 4, "name": "shop", "updatedAt": "2026-01-01T00:00:00Z"}]})),
            ("GET", ["vaults"]) => {
                let own = self.own.iter().filter(|((whose, _), _)| *whose == token);
                let entry = |((_, vault), copy): (&(String, String), &Value)| json!({"vaultId": vault, "version": copy["version"], "name": null, "updatedAt": "2026-01-01T00:00:00Z"});
                plain(json!({"vaults": own.map(entry).collect::<Vec<_>>()}))
            }
            ("GET", ["vaults", vault, "sync"]) => match self.own.get(&(token.clone(), (*vault).to_owned())) {
                Some(copy) => signed(copy.clone()),
                None => refusal(404, "vault_unknown", "no such vault of yours"),
            },
            ("POST", ["vaults", vault, "sync"]) => {
                let body = request.json();
                let old = self.own.get(&(token.clone(), (*vault).to_owned()));
                let version = old.map_or(0, |old| old["version"].as_i64().expect("a version"));
                if version > 0 && body["force"] != json!(true) && body["expectedVersion"] != json!(version) {
                    return refusal(409, "version_conflict", "the server has another version of this vault");
                }
                let copy = json!({"vaultId": vault, "encryptedBlob": body["encryptedBlob"], "wrappedKey": body["wrappedKey"],
                                  "version": version + 1, "owner": id(&token)});
                self.own.insert((token.clone(), (*vault).to_owned()), copy);
                signed(json!({"version": version + 1, "status": "updated", "owner": id(&token)}))
            }
            _ => panic!("unexpected: {}", request.line),
        }
    }
}
