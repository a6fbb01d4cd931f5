//! An OIDC issuer that behaves like GitHub's and GitLab's, and misbehaves on request.
//!
//! One server plays both: GitHub's issuer is the server's address, GitLab's is `<address>/gitlab`, each with
//! its own keys. It publishes discovery documents and keys, rotates them, has GitHub's runtime endpoint, and
//! signs any claims that a test asks for: see [`TokenRequest`].

mod claims;
mod fault;
mod keys;
mod request;
mod server;

pub use fault::{Endpoint, Fault};
pub use keys::Algorithm;
pub use request::{SignWith, TokenRequest};

use anyhow::{Context, Result};
use fault::Faults;
use keys::KeyRing;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// The audience of the published client, and of a token that asks for none.
pub const DEFAULT_AUDIENCE: &str = "https://lpm.dev";

/// Whose tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// GitHub Actions.
    #[default]
    GitHub,
    /// GitLab CI.
    GitLab,
}

impl Provider {
    /// As policies and `lpm.trust_issuer` write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        }
    }
}

/// How keys are to change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// Whose keys.
    pub provider: Provider,
    /// Stop publishing every older key at once, as after a compromise.
    pub withdraw: bool,
    /// What the new key signs with.
    pub algorithm: Algorithm,
}

/// What server and handle share.
pub(crate) struct State {
    url: String,
    github: RwLock<KeyRing>,
    gitlab: RwLock<KeyRing>,
    faults: Faults,
}

impl State {
    fn new(url: String) -> Result<Self> {
        Ok(Self {
            url,
            github: RwLock::new(KeyRing::new()?),
            gitlab: RwLock::new(KeyRing::new()?),
            faults: Faults::default(),
        })
    }

    fn issuer(&self, provider: Provider) -> String {
        match provider {
            Provider::GitHub => self.url.clone(),
            Provider::GitLab => format!("{}/gitlab", self.url),
        }
    }

    fn ring(&self, provider: Provider) -> &RwLock<KeyRing> {
        match provider {
            Provider::GitHub => &self.github,
            Provider::GitLab => &self.gitlab,
        }
    }

    /// The keys; any number of callers may sign at once.
    fn keys(&self, provider: Provider) -> RwLockReadGuard<'_, KeyRing> {
        self.ring(provider).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn jwks_uri(&self, provider: Provider) -> String {
        match provider {
            Provider::GitHub => format!("{}/.well-known/jwks", self.url),
            Provider::GitLab => format!("{}/gitlab/oauth/discovery/keys", self.url),
        }
    }

    fn discovery(&self, provider: Provider) -> Value {
        json!({
            "issuer": self.issuer(provider),
            "jwks_uri": self.jwks_uri(provider),
            "subject_types_supported": ["public", "pairwise"],
            "response_types_supported": ["id_token"],
            "scopes_supported": ["openid"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn mint(&self, request: &TokenRequest) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let defaults =
            claims::defaults(request.provider, &self.issuer(request.provider), &request.claims, now);
        self.keys(request.provider).sign(request, &defaults)
    }

    fn rotate(&self, rotation: &Rotation) -> Result<Value> {
        let mut keys = self.ring(rotation.provider).write().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(rotation.algorithm, rotation.withdraw)?;
        Ok(json!({ "kids": keys.published_ids() }))
    }
}

/// What a GitHub job finds in its environment.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
    pub url: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub token: String,
}

/// An issuer that runs in this process, on a thread of its own, until it is dropped.
pub struct Issuer {
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Issuer {
    /// Starts an issuer on a free port of the loopback interface.
    pub fn start() -> Result<Self> {
        let (listener, state) = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = server::serve(Arc::clone(&state), listener);
        let thread = std::thread::Builder::new().name("issuer".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // the handle is gone or says so: either way it is over
                    _ = stopped => {}
                    served = serve => served.expect("a bound listener serves"),
                }
            });
        })?;
        Ok(Self { state, stop: Some(stop), thread: Some(thread) })
    }

    /// The server's address, which is also the `iss` of its GitHub tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// The `iss` of a provider's tokens.
    #[must_use]
    pub fn issuer(&self, provider: Provider) -> String {
        self.state.issuer(provider)
    }

    /// Signs a token.
    pub fn mint(&self, request: &TokenRequest) -> Result<String> {
        self.state.mint(request)
    }

    /// Signs a payload that may not even be text.
    pub fn sign_bytes(&self, provider: Provider, payload: &[u8]) -> Result<String> {
        self.state.keys(provider).sign_bytes(payload)
    }

    /// The keys as they are published now.
    #[must_use]
    pub fn jwks(&self, provider: Provider) -> Value {
        self.state.keys(provider).jwks()
    }

    /// Makes a new key the current one.
    pub fn rotate(&self, rotation: &Rotation) -> Result<()> {
        self.state.rotate(rotation).map(drop)
    }

    /// Makes an endpoint misbehave, or behave again.
    pub fn fault(&self, endpoint: Endpoint, fault: Option<Fault>) {
        self.state.faults.set(endpoint, fault);
    }

    /// How often an endpoint was asked.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.state.faults.requests(endpoint)
    }

    /// Returns when an endpoint has been asked `count` times in all.
    pub async fn asked(&self, endpoint: Endpoint, count: u64) {
        self.state.faults.asked(endpoint, count).await;
    }

    /// The runtime endpoint of a GitHub job with these claims.
    #[must_use]
    pub fn runtime(&self, claims: &Map<String, Value>) -> Runtime {
        let mut url =
            reqwest::Url::parse(&format!("{}/runtime", self.url())).expect("our own address is a URL");
        url.query_pairs_mut()
            .append_pair("api-version", "2.0")
            .append_pair("claims", &Value::Object(claims.clone()).to_string());
        Runtime { url: url.into(), token: "the-job's-request-token".to_owned() }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves until the process ends, and says on standard output where: the binary `lpm-test-issuer`.
pub async fn serve_forever(address: SocketAddr) -> Result<()> {
    let (listener, state) = bind(address)?;
    println!("lpm-test-issuer: listening on {}", state.url);
    server::serve(state, listener).await
}

fn bind(address: SocketAddr) -> Result<(TcpListener, Arc<State>)> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let state = State::new(format!("http://{}", listener.local_addr()?))?;
    Ok((listener, Arc::new(state)))
}
