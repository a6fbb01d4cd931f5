//! A gateway that signs people in, by the rules of sessions.

use super::Machine;
use super::gateway::{BLOB, ME, OTHER, WRAPPED, refusal};
use super::server::{Reply, Request, Server};
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// The code that buys a session, once.
pub(crate) const CODE: &str = "lpm_code_good";
/// A personal access token that is good.
pub(crate) const PAT: &str = "lpm_pat_good";
/// Far away.
pub(crate) const LATER: &str = "2999-01-01T00:00:00Z";
/// Long ago.
pub(crate) const PAST: &str = "2020-01-01T00:00:00Z";

/// The end of a path, and what is answered there.
type Instead = (&'static str, fn() -> Reply);

/// What it knows, and how it behaves.
pub(crate) struct Kept {
    /// Access tokens that are good.
    pub(crate) access: Vec<String>,
    /// Refresh tokens that are good.
    pub(crate) refresh: Vec<String>,
    /// When access tokens end that are issued from now on.
    pub(crate) expires_at: &'static str,
    /// Answered in place of everything at paths that end like this.
    pub(crate) instead: Vec<Instead>,
    codes: Vec<String>,
    issued: usize,
}

/// A gateway with accounts.
pub(crate) struct Accounts {
    pub(crate) server: Server,
    kept: Arc<Mutex<Kept>>,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let kept = Arc::new(Mutex::new(Kept {
            access: vec![PAT.into()],
            refresh: Vec::new(),
            expires_at: LATER,
            instead: Vec::new(),
            codes: vec![CODE.into()],
            issued: 0,
        }));
        let own = Arc::clone(&kept);
        let server =
            Server::new(move |request, _| answer(&mut own.lock().expect("nobody panics with it"), request));
        Self { server, kept }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics with it")
    }

    /// A machine that knows this gateway and nobody's token.
    pub(crate) fn machine(&self) -> Machine {
        let machine = Machine::new()
            .with("LPM_REGISTRY_URL", &self.server.url)
            .with("HOSTNAME", "laptop")
            .with("USER", "alice");
        machine.write("lpm.json", r#"{"vault":"v/1"}"#);
        machine
    }

    /// The same, signed in: `lpm_ses_1`, `lpm_ref_1`.
    pub(crate) fn signed_in(&self) -> Machine {
        let machine = self.machine();
        self.sign_in(&machine);
        machine
    }

    pub(crate) fn sign_in(&self, machine: &Machine) {
        self.kept().codes.push(CODE.into());
        let waiting = machine.sign_in("login --no-browser");
        waiting.comes_back(&format!("code={CODE}"));
        waiting.ends().ok();
    }

    /// The lines of requests from here on.
    pub(crate) fn lines_after(&self, before: usize) -> Vec<String> {
        self.server.lines().split_off(before)
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.server.lines().len()
    }
}

/// The file with the login at this address.
pub(crate) fn login_file(machine: &Machine, address: &str) -> PathBuf {
    let name = hex::encode(openssl::sha::sha256(address.as_bytes()));
    machine.home().join(".lpm/sessions").join(format!("{name}.json"))
}

impl Kept {
    fn issue(&mut self) -> Reply {
        self.issued += 1;
        let (access, refresh) = (format!("lpm_ses_{}", self.issued), format!("lpm_ref_{}", self.issued));
        self.access.push(access.clone());
        self.refresh.push(refresh.clone());
        let body = json!({"token": access, "refreshToken": refresh, "expiresAt": self.expires_at});
        Reply::new(200, body.to_string())
    }
}

fn take(tokens: &mut Vec<String>, token: &str) -> bool {
    let before = tokens.len();
    tokens.retain(|other| other != token);
    tokens.len() < before
}

fn answer(kept: &mut Kept, request: &Request) -> Reply {
    let body = || request.json();
    if let Some((_, reply)) = kept.instead.iter().find(|(path, _)| request.line.ends_with(path)) {
        return reply();
    }
    match request.line.as_str() {
        "POST /api/cli/exchange" => {
            return match take(&mut kept.codes, body()["code"].as_str().unwrap_or_default()) {
                true => kept.issue(),
                false => refusal(401, "login_code_invalid", "the login code is unknown, used or expired"),
            };
        }
        "POST /api/cli/refresh" => {
            return match take(&mut kept.refresh, body()["refreshToken"].as_str().unwrap_or_default()) {
                true => kept.issue(),
                false => refusal(401, "session_ended", "the login session has ended"),
            };
        }
        _ => {}
    }
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = bearer.filter(|token| kept.access.iter().any(|known| known == token)) else {
        return refusal(401, "unauthorized", "no valid token");
    };
    let token = token.to_owned();
    let session = token.starts_with("lpm_ses_");
    let done = || Reply::new(200, r#"{"success":true}"#);
    match request.line.as_str() {
        "GET /api/registry/-/whoami" => Reply::new(
            200,
            json!({"id": ME, "username": "alice", "profile_username": "alice", "plan_tier": "org", "session": session,
                   "mfa_enabled": false, "has_pool_access": false, "available_scopes": ["alice", "acme"],
                   "organizations": [{"id": ME, "slug": "acme", "name": "acme", "role": "admin", "require_2fa": false}],
                   "usage": {"storage_bytes": 0, "private_packages": 0},
                   "limits": {"storageBytes": 0, "privatePackages": 0}})
            .to_string(),
        ),
        "POST /api/registry/-/token/rotate" => {
            take(&mut kept.access, &token);
            let new = format!("{token}r");
            kept.access.push(new.clone());
            Reply::new(200, json!({"token": new, "expiresAt": LATER}).to_string())
        }
        "POST /api/registry/tokens/revoke" => {
            take(&mut kept.access, body()["token"].as_str().unwrap_or_default());
            done()
        }
        "GET /api/cli/sessions" => {
            let entry = |id: &str, device: &str, current: bool| {
                json!({"id": id, "device": device, "createdAt": "2026-01-01T00:00:00Z", "refreshedAt": "2026-01-02T00:00:00Z",
                       "expiresAt": LATER, "current": current})
            };
            Reply::new(
                200,
                json!({"sessions": [entry(ME, "laptop", session), entry(OTHER, "old\u{1b}box", false)]})
                    .to_string(),
            )
        }
        "GET /api/vaults/v%2F1/sync" => pulled_as(&token),
        line if line.starts_with("DELETE /api/cli/sessions/") => done(),
        "POST /api/vault/pair/revoke-all" => done(),
        other => panic!("unexpected: {other}"),
    }
}

/// The vault, signed for whoever asks.
fn pulled_as(token: &str) -> Reply {
    let body =
        json!({"vaultId": "v/1", "encryptedBlob": BLOB, "wrappedKey": WRAPPED, "version": 7, "owner": ME});
    Reply::new(200, body.to_string()).signed(token)
}
