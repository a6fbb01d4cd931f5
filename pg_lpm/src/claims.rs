//! Claims: what the audit and the lookups need of them, read by the core's one strict parser.

use crate::answer::{refusal, row};
use crate::policy::stored_badly;
use lpm_core::claims::{Claims, Provider, draft};
use lpm_core::failure::{Code, Failure};
use pgrx::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

/// The end of the year 9999, in seconds since 1970.
const LAST_EXPIRY: i64 = 253_402_300_799;

/// Claims that were acceptable, with what they were read from.
struct Reading {
    provider: Provider,
    text: Vec<u8>,
    claims: Rc<Claims>,
}

thread_local! {
    /// The last: a decision reads the claims, asks for its facts, and reads the same claims again to judge them.
    static LAST: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

/// The claims of a token of this provider.
pub(crate) fn read(provider: &str, text: &[u8]) -> Result<Rc<Claims>, Failure> {
    let provider = Provider::parse(provider)?;
    let last = LAST.with_borrow(|last| {
        let same = last.as_ref().filter(|last| last.provider == provider && last.text == text);
        same.map(|last| Rc::clone(&last.claims))
    });
    if let Some(claims) = last {
        return Ok(claims);
    }
    let claims = Rc::new(Claims::parse(provider, text).map_err(|problem| problem.failure())?);
    LAST.set(Some(Reading { provider, text: text.to_owned(), claims: Rc::clone(&claims) }));
    Ok(claims)
}

/// The claims of a token that this issuer signed.
fn parse(provider: &str, issuer: &str, claims: &[u8]) -> Result<Rc<Claims>, Failure> {
    let claims = read(provider, claims)?;
    if claims.issuer != issuer {
        return Err(Failure::new(Code::TokenIssuer).with("issuer", &claims.issuer));
    }
    Ok(claims)
}

/// Everything that deciding, counting and auditing need of a token's claims; `refusal` alone where the claims
/// are not acceptable. Texts are cut and escaped for the audit.
#[pg_extern(immutable, strict, parallel_safe)]
fn read_claims(provider: &str, issuer: &str, claims: &[u8]) -> pgrx::composite_type!('static, "lpm.job") {
    let audit = |text: Option<String>| text.map(|text| lpm_core::failure::presentable(&text));
    let mut job = [None; 15];
    match parse(provider, issuer, claims) {
        Err(failure) => job[0] = refusal(&failure).into_datum(),
        Ok(claims) => {
            let branch = audit(claims.branch_text());
            let name = format!(
                "oidc:{provider}:{}:{}",
                claims.subject_text(),
                branch.as_deref().unwrap_or_default()
            );
            // a person may type any number; PostgreSQL ends in the year 294276
            let expires_at = to_timestamp(claims.expires_at.min(LAST_EXPIRY) as f64);
            let repository = claims.subject_text().split_once(':').map(|(_, name)| name.to_owned());
            job = [
                None,
                claims.subjects().into_datum(),
                audit(Some(claims.subject_text())).into_datum(),
                claims.stable_id().into_datum(),
                claims.owner_id().into_datum(),
                claims.use_key().as_slice().into_datum(),
                expires_at.into_datum(),
                name.into_datum(),
                audit(repository).into_datum(),
                branch.into_datum(),
                audit(claims.workflow_text()).into_datum(),
                audit(claims.event_text()).into_datum(),
                audit(claims.run_text()).into_datum(),
                audit(claims.sha_text()).into_datum(),
                audit(claims.actor_text()).into_datum(),
            ];
        }
    }
    // SAFETY: the type's attributes in their order.
    unsafe { row(c"lpm", c"job", job) }
}

/// Claims that a person typed, completed from what is known: see [`draft`].
#[pg_extern(immutable, strict, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn complete_claims(
    claims: &[u8],
    known: &str,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(issuer, Option<String>),
        name!(claims, Option<Vec<u8>>),
        name!(unknown, Option<Vec<String>>),
    ),
> {
    let known = serde_json::from_str(known).map_err(|_| stored_badly("what is known of an issuer or a pin"));
    TableIterator::once(match known.and_then(|known| draft::complete(claims, &known)) {
        Ok(draft) => (None, Some(draft.issuer), Some(draft.claims), Some(draft.unknown)),
        Err(failure) => (Some(refusal(&failure)), None, None, None),
    })
}
