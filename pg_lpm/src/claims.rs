//! Claims: what the audit and the lookups need of them, read by the core's one strict parser.

use crate::answer::{Answer, refusal};
use crate::policy::stored_badly;
use lpm_core::claims::{Claims, Provider, draft};
use lpm_core::failure::{Code, Failure};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// The end of the year 9999, in seconds since 1970.
const LAST_EXPIRY: i64 = 253_402_300_799;

/// The claims of a token that this issuer signed.
pub(crate) fn parse(provider: &str, issuer: &str, claims: &[u8]) -> Result<Claims, Failure> {
    let claims = Claims::parse(Provider::parse(provider)?, claims).map_err(|problem| problem.failure())?;
    if claims.issuer != issuer {
        return Err(Failure::new(Code::TokenIssuer).with("issuer", &claims.issuer));
    }
    Ok(claims)
}

/// Everything that deciding, counting and auditing need of a token's claims, as one row; `refusal` alone
/// where the claims are not acceptable. Texts are cut and escaped for the audit.
#[pg_extern(immutable, strict, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn read_claims(
    provider: &str,
    issuer: &str,
    claims: &[u8],
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(subjects, Option<Vec<String>>),
        name!(subject, Option<String>),
        name!(subject_id, Option<String>),
        name!(owner_id, Option<String>),
        name!(use_key, Option<Vec<u8>>),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(token_name, Option<String>),
        name!(repository, Option<String>),
        name!(branch, Option<String>),
        name!(workflow, Option<String>),
        name!(event, Option<String>),
        name!(run, Option<String>),
        name!(sha, Option<String>),
        name!(actor, Option<String>),
    ),
> {
    let row = match parse(provider, issuer, claims) {
        Err(failure) => {
            let refusal: Answer = refusal(&failure);
            (
                Some(refusal),
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
            )
        }
        Ok(claims) => {
            let audit = |text: Option<String>| text.map(|text| lpm_core::failure::presentable(&text));
            let branch = audit(claims.branch_text());
            let name = format!(
                "oidc:{provider}:{}:{}",
                claims.subject_text(),
                branch.as_deref().unwrap_or_default()
            );
            (
                None,
                Some(claims.subjects()),
                audit(Some(claims.subject_text())),
                Some(claims.stable_id().to_owned()),
                claims.owner_id().map(str::to_owned),
                Some(claims.use_key().to_vec()),
                // a person may type any number; PostgreSQL ends in the year 294276
                Some(to_timestamp(claims.expires_at.min(LAST_EXPIRY) as f64)),
                Some(name),
                audit(claims.subject_text().split_once(':').map(|(_, name)| name.to_owned())),
                branch,
                audit(claims.workflow_text()),
                audit(claims.event_text()),
                audit(claims.run_text()),
                audit(claims.sha_text()),
                audit(claims.actor_text()),
            )
        }
    };
    TableIterator::once(row)
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
