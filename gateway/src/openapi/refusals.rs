//! Refusals that an operation names where they do not follow from what it takes: see `everywhere`.

use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

/// A response with an [`lpm_core::wire::ErrorReply`].
pub(super) fn refusal(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorReply"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

macro_rules! refusals {
    ($( $name:ident = $status:literal, $description:literal; )*) => { $(
        #[doc = $description]
        #[allow(dead_code, reason = "operations name what they need of these, and nobody makes one")]
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([($status.to_owned(), refusal($description).into())])
            }
        }
    )* };
}

refusals! {
    Unauthorized = "401", "The token does not hold";
    Forbidden = "403", "Not allowed";
    NotFound = "404", "There is no such thing, or it is not the caller's: the answer is the same";
    Conflict = "409", "It does not fit what is there; the text says what to do";
    Gone = "410", "It has ended";
    Unprocessable = "422", "What the vault holds cannot be read";
    TooMany = "429", "Too often; `Retry-After` says when to come back";
    NotOffered = "501", "Not offered here";
}
