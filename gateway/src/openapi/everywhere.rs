//! What follows from what an operation takes, so that nobody has to repeat it: refusals and headers.

use super::refusals::refusal;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, HeaderBuilder, OpenApi, Response};

/// Who may call.
pub(super) struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = |description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
            SecurityScheme::Http(scheme.build())
        };
        let components = document.components.take().unwrap_or_default();
        document.components = Some(
            ComponentsBuilder::from(components)
                .security_scheme(
                    "account",
                    bearer("A personal access token (`lpm_pat_…`) or a login session's access token (`lpm_ses_…`)"),
                )
                .security_scheme("session", bearer("A login session's access token (`lpm_ses_…`)"))
                .security_scheme("ci", bearer("A CI token (`lpm_ci_…`) from `POST /api/vault/oidc`"))
                .build(),
        );
    }
}

/// Refusals and headers.
pub(super) struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in operations(item) {
                add_refusals(operation);
                for (status, response) in &mut operation.responses.responses {
                    if let utoipa::openapi::RefOr::T(response) = response {
                        complete(status, response);
                    }
                }
            }
        }
    }
}

/// The operations of a path that we use.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

fn add_refusals(operation: &mut Operation) {
    let mut add = |status: &str, description: &str| {
        let refusals = &mut operation.responses.responses;
        refusals.entry(status.to_owned()).or_insert_with(|| refusal(description).into());
    };
    add("400", "The request is malformed; the text says where");
    add("408", "The request did not arrive in time");
    add("431", "The request's head is too large");
    add("500", "Something went wrong on the server");
    add("503", "Not now; `Retry-After` says when to come back");
    if operation.security.is_some() {
        add("401", "No valid token");
        add("403", "The token, the role or the plan does not allow it");
    }
    if operation.request_body.is_some() {
        add("413", "The body is too large");
        add("415", "The body is encoded");
    }
}

/// Adds the headers that every response with this status has, and a description where there is none.
fn complete(status: &str, response: &mut Response) {
    if response.description.is_empty() {
        response.description = if status == "201" { "Created" } else { "Done" }.to_owned();
    }
    let mut header = |name: &str, description: &str, schema: ObjectBuilder| {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        response.headers.insert(name.to_owned(), header.into());
    };
    let text = || ObjectBuilder::new().schema_type(Type::String);
    header(
        "X-Request-Id",
        "The server's own id of the request, as in the audit log",
        text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))),
    );
    match status {
        "401" => header("WWW-Authenticate", "`Bearer`", text()),
        "429" | "503" => {
            header("Retry-After", "Seconds", ObjectBuilder::new().schema_type(Type::Integer));
        }
        _ => {}
    }
}
