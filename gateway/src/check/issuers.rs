//! The trusted issuers, and the keys of each.

use super::Report;
use crate::db::Db;
use crate::oidc::{Oidc, Tried};
use futures_util::future::join_all;

pub(super) async fn check(report: &mut Report, db: &Db, oidc: &Oidc) {
    if let Err(reason) = oidc.reread(db).await {
        return report.wrong("issuers", format!("they cannot be read from the database: {reason}"));
    }
    for problem in oidc.problems() {
        report.wrong("issuers", format!("{problem}; correct the row with lpm.trust_issuer"));
    }
    if let Some(proxy) = oidc.proxy() {
        report.note(
            "issuers",
            format!(
                "the environment names the proxy {proxy}: it resolves the issuers' names, so only origin and https are checked \
                 here, not where a name leads"
            ),
        );
    }
    let tried =
        join_all(oidc.all().into_iter().map(|issuer| async move { (issuer.try_keys().await, issuer) }));
    for (outcome, issuer) in tried.await {
        let name = &issuer.rules.issuer;
        match outcome {
            Tried::Uploaded(count) => report.ok("issuers", format!("{name}: {count} uploaded keys, no network")),
            Tried::Fetched(count) => report.ok("issuers", format!("{name}: {count} keys, fetched just now")),
            Tried::Unusable => report.wrong(
                "issuers",
                format!("{name}: none of its uploaded keys can be used; give others with lpm.trust_issuer(…, jwks => …)"),
            ),
            Tried::Failed(error) => report.wrong(
                "issuers",
                format!(
                    "{name}: {error}; open the way there (HTTPS_PROXY where there is a proxy), give other settings with lpm.trust_issuer(…), \
                     upload its keys (jwks => …), or lpm.distrust_issuer('{name}')"
                ),
            ),
        }
    }
}
