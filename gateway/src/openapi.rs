//! `/openapi.json`, and what follows from it.
//!
//! Each handler says above itself what it takes and answers; [`Document`] collects them. Which methods a path has
//! is read from the document: a route that is not in it is never reached (see `routes::undocumented`).

mod everywhere;
pub(crate) mod parameters;
mod paths;
pub(crate) mod refusals;

#[cfg(test)]
pub(crate) use paths::Documented;
pub(crate) use paths::Paths;

use crate::handlers::{
    ci, escrow, health, members, orgs, pairing, platforms, policies, sessions, vaults, versions,
};
use everywhere::{Everywhere, Schemes};
use std::sync::LazyLock;
use utoipa::OpenApi;

/// What is served, and what is derived from it.
pub(crate) struct Served {
    /// `/openapi.json`.
    pub json: String,
    /// Every path with its methods.
    pub paths: Paths,
}

/// Made at the first use and never changed.
pub(crate) static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let document = Document::openapi();
    let json = document.to_json().expect("strings, numbers and lists always serialize");
    Served { json, paths: Paths::of(&document) }
});

#[derive(OpenApi)]
#[openapi(
    info(
        title = "lpm-gateway",
        description = "LPM's secrets vault, self-hosted. Vaults are ciphertext; a vault that is open to CI is \
                       decrypted in the database for jobs that a policy allows. Every error is an `ErrorReply`. \
                       Unknown members of a request are ignored, except in a policy."
    ),
    paths(
        ci::one_step_pull,
        ci::exchange,
        ci::ci_pull,
        vaults::push,
        vaults::pull,
        vaults::list_vaults,
        vaults::audit,
        versions::list_versions,
        versions::restore_version,
        policies::create_policy,
        policies::list_policies,
        policies::revoke_policy,
        policies::repin,
        policies::explain,
        escrow::escrow_key,
        escrow::put_escrow,
        escrow::disable_escrow,
        sessions::exchange,
        sessions::refresh,
        sessions::list_sessions,
        sessions::end_session,
        sessions::whoami,
        sessions::rotate_token,
        sessions::revoke_token,
        pairing::start,
        pairing::show,
        pairing::approve,
        pairing::consume,
        pairing::revoke_all,
        orgs::public_key,
        orgs::put_public_key,
        orgs::member_keys,
        orgs::share,
        orgs::org_pull,
        orgs::list_org_vaults,
        members::list,
        members::set_role,
        members::remove,
        members::settings,
        members::invite,
        members::list_invitations,
        members::end_invitation,
        members::accept_invitation,
        members::own_invitations,
        platforms::connect,
        platforms::push,
        platforms::pull,
        platforms::status,
        health::alive,
        health::ready,
        health::registry_health,
        health::document,
    ),
    components(schemas(lpm_core::wire::ErrorReply)),
    tags(
        (name = "vaults", description = "Vaults as ciphertext"),
        (name = "policies", description = "Which CI jobs may pull what"),
        (name = "escrow", description = "Opening a vault to CI"),
        (name = "ci", description = "What CI jobs call"),
        (name = "sessions", description = "Login sessions and tokens; signing in itself is a page for people, `/cli/login`"),
        (name = "pairing", description = "Handing a machine's wrapping key to a browser"),
        (name = "orgs", description = "Vaults that an org shares"),
        (name = "members", description = "Members of an org, and invitations"),
        (name = "platforms", description = "Not offered: they would send plaintext to the server"),
        (name = "health", description = "Operations"),
    ),
    modifiers(&Schemes, &Everywhere)
)]
struct Document;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_str(&SERVED.json).expect("JSON")
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path item") {
                operations.push((format!("{method} {path}"), operation));
            }
        }
        operations
    }

    #[test]
    fn the_document_is_of_version_3_1() {
        assert_eq!(document()["openapi"], "3.1.0");
    }

    #[test]
    fn every_operation_says_what_it_does_in_a_sentence_and_has_a_name_of_its_own() {
        let document = document();
        let mut names = BTreeSet::new();
        for (name, operation) in operations(&document) {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(summary.ends_with('.') && !summary.contains('`'), "{name}: {summary}");
            assert!(names.insert(operation["operationId"].as_str().expect("a name").to_owned()), "{name}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
        }
    }

    #[test]
    fn every_refusal_is_an_error_reply() {
        let document = document();
        for (name, operation) in operations(&document) {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status < &"500".to_owned()), "{name}");
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ErrorReply", "{name} {status}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut waiting = vec![&document];
        while let Some(value) = waiting.pop() {
            match value {
                Value::Array(items) => waiting.extend(items),
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').expect("within the document");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    waiting.extend(members.values());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn no_text_is_meant_for_readers_of_the_sources() {
        for leftover in ["[`", "crate::", "super::"] {
            assert!(!SERVED.json.contains(leftover), "{leftover}");
        }
    }

    #[test]
    fn every_place_in_a_path_is_a_parameter() {
        let document = document();
        for (name, operation) in operations(&document) {
            let described: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            let places = name.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(described, places.collect(), "{name}");
        }
    }

    #[test]
    fn whatever_asks_for_a_token_says_that_it_may_be_refused() {
        let document = document();
        for (name, operation) in operations(&document) {
            let secured = operation.get("security").is_some();
            let schemes = &document["components"]["securitySchemes"];
            for requirement in operation["security"].as_array().into_iter().flatten() {
                for scheme in requirement.as_object().expect("a requirement").keys() {
                    assert!(schemes.get(scheme).is_some(), "{name}: {scheme}");
                }
            }
            for status in ["401", "403"] {
                assert!(!secured || operation["responses"].get(status).is_some(), "{name} {status}");
            }
        }
    }
}
