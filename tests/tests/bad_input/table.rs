//! Every route of the gateway, with what it takes. What is not in here is not tested, so the table is compared with
//! the sources and with what the gateway itself says of its paths.

use crate::world::World;
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Who a route lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Whoever asks.
    Anyone,
    /// No one: it is there to say that it is not offered.
    Nobody,
    /// An account that may read.
    Reader,
    /// An account that may change something.
    Writer,
    /// Whoever has a token, whatever it may; it may be gone afterwards.
    Holder,
    /// A login session.
    Session,
    /// The bearer of an exchanged CI token.
    Job,
    /// The bearer of an OIDC token, which stands in the body.
    Oidc,
}

/// One route.
pub(crate) struct Route {
    /// Method and path, as the gateway's sources and its log have them.
    pub(crate) name: &'static str,
    pub(crate) query: &'static str,
    pub(crate) identity: Identity,
    pub(crate) body: Option<Body>,
}

/// What stands in a route's body.
pub(crate) struct Body {
    /// A good one, with every member that has a type of its own.
    pub(crate) valid: fn(&World) -> Result<Value>,
    /// Its largest size, in bytes.
    pub(crate) limit: usize,
    /// Members that may be missing; null says the same.
    pub(crate) optional: &'static [&'static str],
    /// Members that must be there.
    pub(crate) required: &'static [&'static str],
}

const PUSH: usize = 15 * 1024 * 1024;
const SMALL: usize = 64 * 1024;

/// Every route, in an order in which one good request to each succeeds.
pub(crate) const ROUTES: [Route; 52] = [
    get("GET /healthz", "", Identity::Anyone),
    get("GET /readyz", "", Identity::Anyone),
    get("GET /openapi.json", "", Identity::Anyone),
    get("GET /api/registry/health", "", Identity::Anyone),
    get("POST /api/vault/platforms/connect", "", Identity::Nobody),
    get("POST /api/vault/platforms/push", "", Identity::Nobody),
    get("POST /api/vault/platforms/pull", "", Identity::Nobody),
    get("POST /api/vault/platforms/status", "", Identity::Nobody),
    get("GET /api/vaults", "", Identity::Reader),
    get("GET /api/vaults/{vault}/sync", "", Identity::Reader),
    get("GET /api/vaults/{vault}/audit", "", Identity::Reader),
    Route {
        name: "POST /api/vaults/{vault}/sync",
        query: "",
        identity: Identity::Writer,
        body: Some(Body {
            valid: |world| {
                let mut push = world.fresh_push()?;
                push["force"] = true.into();
                push["expectedVersion"] = 1.into();
                push["name"] = "web".into();
                push["schema"] = json!({"version": 2, "envConfig": {"dev": {"canonical": "development"}}});
                Ok(push)
            },
            limit: PUSH,
            optional: &["expectedVersion", "name", "schema"],
            required: &["encryptedBlob", "wrappedKey"],
        }),
    },
    get("GET /api/vaults/{vault}/versions", "", Identity::Reader),
    Route {
        name: "POST /api/vaults/{vault}/restore",
        query: "",
        identity: Identity::Writer,
        body: Some(Body {
            valid: |world| {
                let newest: i32 = world.newest_version()?;
                Ok(json!({"version": newest - 1, "expectedVersion": newest}))
            },
            limit: SMALL,
            optional: &["expectedVersion"],
            required: &["version"],
        }),
    },
    Route {
        name: "POST /api/vault/oidc/policies",
        query: "",
        identity: Identity::Writer,
        body: Some(Body {
            valid: |world| Ok(world.policy()),
            limit: SMALL,
            optional: &["allowForks"],
            required: &["vaultId", "provider", "subject", "allowedBranches", "allowedEnvironments"],
        }),
    },
    get("GET /api/vault/oidc/policies", "?vaultId={vault}", Identity::Reader),
    get("GET /api/vault/oidc/escrow-key", "", Identity::Reader),
    Route {
        name: "POST /api/vault/oidc/escrow",
        query: "",
        identity: Identity::Writer,
        body: Some(Body {
            valid: |world| Ok(world.escrow()),
            limit: SMALL,
            optional: &[],
            required: &["vaultId", "wrappingKeyHex"],
        }),
    },
    Route {
        name: "POST /api/vault/oidc/explain",
        query: "",
        identity: Identity::Reader,
        body: Some(Body {
            valid: |world| {
                Ok(json!({"vaultId": world.vault, "env": "production", "oidcToken": world.oidc_token()?}))
            },
            limit: SMALL,
            optional: &["env"],
            required: &["vaultId", "oidcToken"],
        }),
    },
    oidc("POST /api/vault/oidc"),
    get("GET /api/vaults/{vault}/ci-pull", "?env=production", Identity::Job),
    oidc("POST /api/vault/oidc/pull"),
    Route {
        name: "POST /api/vault/oidc/repin",
        query: "",
        identity: Identity::Writer,
        body: Some(Body {
            valid: |world| Ok(json!({"vaultId": world.vault, "subject": "repo:acme/web"})),
            limit: SMALL,
            optional: &[],
            required: &["vaultId", "subject"],
        }),
    },
    get("GET /api/users/me/public-key", "", Identity::Reader),
    written("POST /api/users/me/public-key", &["publicKey"], |world| {
        Ok(json!({"publicKey": world.public_key()?}))
    }),
    get("GET /api/orgs/{org}/members/public-keys", "", Identity::Reader),
    get("GET /api/orgs/{org}/vaults", "", Identity::Reader),
    get("GET /api/orgs/{org}/vaults/{vault}", "", Identity::Reader),
    Route {
        name: "POST /api/orgs/{org}/vaults/{vault}",
        query: "",
        identity: Identity::Writer,
        body: Some(Body {
            valid: |world| {
                let mut share = world.fresh_share()?;
                share["force"] = true.into();
                share["expectedVersion"] = 1.into();
                share["name"] = "web".into();
                share["schema"] = json!({"version": 2});
                Ok(share)
            },
            limit: PUSH,
            optional: &["expectedVersion", "name", "schema"],
            required: &["encryptedBlob", "wrappedKeys"],
        }),
    },
    get("GET /api/orgs/{org}/members", "", Identity::Reader),
    written("PUT /api/orgs/{org}/members/{handle}", &["role"], |_| Ok(json!({"role": "developer"}))),
    written("PUT /api/orgs/{org}/settings", &["mayShare"], |_| Ok(json!({"mayShare": "developer"}))),
    written("POST /api/orgs/{org}/invitations", &["handle", "role"], |_| {
        Ok(json!({"handle": "carol", "role": "developer"}))
    }),
    get("GET /api/orgs/{org}/invitations", "", Identity::Reader),
    get("GET /api/invitations", "", Identity::Reader),
    get("POST /api/orgs/{org}/invitations/accept", "", Identity::Writer),
    get("DELETE /api/orgs/{org}/invitations/{handle}", "", Identity::Writer),
    get("DELETE /api/orgs/{org}/members/{handle}", "", Identity::Writer),
    get("DELETE /api/vault/oidc/policies/{policy}", "", Identity::Writer),
    get("DELETE /api/vault/oidc/escrow", "?vaultId={vault}", Identity::Writer),
    Route {
        name: "POST /api/cli/exchange",
        query: "",
        identity: Identity::Anyone,
        body: small(|world| Ok(json!({"code": world.login_code()?})), &["code"], &[]),
    },
    Route {
        name: "POST /api/cli/refresh",
        query: "",
        identity: Identity::Anyone,
        body: small(
            |world| Ok(json!({"refreshToken": world.refresh_token()?, "deviceFingerprint": "0a"})),
            &["refreshToken"],
            &["deviceFingerprint"],
        ),
    },
    get("GET /api/cli/sessions", "", Identity::Reader),
    get("GET /api/registry/-/whoami", "", Identity::Holder),
    Route {
        name: "POST /api/registry/-/token/rotate",
        query: "",
        identity: Identity::Holder,
        body: small(|_| Ok(json!({})), &[], &[]),
    },
    Route {
        name: "POST /api/registry/tokens/revoke",
        query: "",
        identity: Identity::Holder,
        body: small(|world| Ok(json!({"token": world.spare_token()?})), &["token"], &[]),
    },
    get("GET /api/vault/pair/{code}", "", Identity::Session),
    Route {
        name: "POST /api/vault/pair/{code}",
        query: "",
        identity: Identity::Session,
        body: small(
            |world| {
                world.wait_with_the_code()?;
                Ok(json!({"encryptedWrappingKey": SEALED, "ephemeralPublicKey": POINT}))
            },
            &["encryptedWrappingKey", "ephemeralPublicKey"],
            &[],
        ),
    },
    Route {
        name: "POST /api/vault/pair/{code}/consume",
        query: "",
        identity: Identity::Session,
        body: small(|_| Ok(json!({})), &[], &[]),
    },
    Route {
        name: "POST /api/vault/pair",
        query: "",
        identity: Identity::Session,
        body: small(
            |_| Ok(json!({"browserPublicKey": POINT, "deviceLabel": "browser"})),
            &["browserPublicKey"],
            &["deviceLabel"],
        ),
    },
    Route {
        name: "POST /api/vault/pair/revoke-all",
        query: "",
        identity: Identity::Session,
        body: small(|_| Ok(json!({})), &[], &[]),
    },
    get("DELETE /api/cli/sessions/{id}", "", Identity::Writer),
];

/// The contract's own: a point of P-256, and a wrapping key that was sealed for another.
const POINT: &str =
    "BFkat3HrvP1tnLkJTRBlKK3Rpp1EwsH2J/CJ7Fi5xhrfn05qvw0EXAxpOjxorXyXynK+ZN70om/s0mPdmKkngPA=";
const SEALED: &str = "AAECAwQFBgcICQoL:W9QRD+pM+pW3YUjuXiAqSyWWs5c1n2cvnvPAnDV7UUVMWaflITY88hK+KRqtBXgb";

const fn small(
    valid: fn(&World) -> Result<Value>,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Option<Body> {
    Some(Body { valid, limit: SMALL, optional, required })
}

const fn get(name: &'static str, query: &'static str, identity: Identity) -> Route {
    Route { name, query, identity, body: None }
}

/// A route of a writer, whose small body has these members and no others.
const fn written(
    name: &'static str,
    required: &'static [&'static str],
    valid: fn(&World) -> Result<Value>,
) -> Route {
    let body = Body { valid, limit: SMALL, optional: &[], required };
    Route { name, query: "", identity: Identity::Writer, body: Some(body) }
}

const fn oidc(name: &'static str) -> Route {
    let body = Body {
        valid: |world| {
            let owner = world.owner.as_str();
            Ok(
                json!({"vaultId": world.vault, "env": "production", "owner": owner, "oidcToken": world.oidc_token()?}),
            )
        },
        limit: SMALL,
        optional: &["env", "owner"],
        required: &["vaultId", "oidcToken"],
    };
    Route { name, query: "", identity: Identity::Oidc, body: Some(body) }
}

/// The routes that read a body.
pub(crate) fn with_body() -> impl Iterator<Item = (&'static Route, &'static Body)> {
    ROUTES.iter().filter_map(|route| Some((route, route.body.as_ref()?)))
}

/// The routes that look at the `Authorization` header.
pub(crate) fn with_bearer() -> impl Iterator<Item = &'static Route> {
    ROUTES
        .iter()
        .filter(|route| !matches!(route.identity, Identity::Anyone | Identity::Nobody | Identity::Oidc))
}

impl Route {
    pub(crate) fn method(&self) -> &'static str {
        self.name.split_once(' ').map_or("", |(method, _)| method)
    }

    /// Is this what the route answers when nothing is wrong?
    pub(crate) fn serves(&self, reply: &Reply) -> bool {
        match self.identity {
            Identity::Nobody => reply.status == 501,
            _ => reply.status.is_success(),
        }
    }

    /// The path with its places not filled in.
    pub(crate) fn path(&self) -> &'static str {
        self.name.split_once(' ').map_or("", |(_, path)| path)
    }
}

/// Every path with its methods.
pub(crate) fn paths() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut paths = BTreeMap::<_, BTreeSet<_>>::new();
    for route in &ROUTES {
        paths.entry(route.path()).or_default().insert(route.method());
    }
    paths
}

#[test]
fn every_route_of_the_gateways_sources_is_in_the_table() -> Result<()> {
    let sources = lpm_tests::sources::routes()?;
    // A route gives its name where it answers: it is what the log shows of a request.
    let mut named = BTreeSet::new();
    for call in sources.split(" answer(").skip(1) {
        let Some(quoted) = call.trim_start().strip_prefix('"') else { continue };
        named.insert(quoted.split_once('"').context("a string has two ends")?.0);
    }
    assert_eq!(named, ROUTES.iter().map(|route| route.name).collect());
    // And each is documented by its request line.
    let documented = sources.lines().filter(|line| line.starts_with("/// `") && line.contains(" /"));
    assert_eq!(documented.count(), ROUTES.len());
    Ok(())
}
