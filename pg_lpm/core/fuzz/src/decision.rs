//! The decision against a second one, and against itself: `explain` says the same, and no order matters.

use crate::doc::Doc;
use crate::failure::{self, is_harmless};
use crate::input::fields;
use crate::model::Request;
use crate::policy::requested;
use lpm_core::claims::{Claims, Provider};
use lpm_core::decision::{Candidate, Facts, Pin, Plan, decide, explain};
use lpm_core::envelope::escrow::EscrowKind;
use lpm_core::failure::Code;
use lpm_core::json::{self, Limits};
use lpm_core::policy::Policy;
use uuid::Uuid;

/// A minute after the fixtures were issued.
const NOW: i64 = 1_790_000_060;

/// Switches, environment, `envConfig`, pinned ids with a space between, two requests for policies, claims.
///
/// A switch is a letter; in lower case it is for the first policy, in upper case for the second one.
pub fn decision(data: &[u8]) {
    let [switches, environment, config, pin, first, second, claims] = fields(data);
    let (Ok(environment), Ok(pin)) = (std::str::from_utf8(environment), std::str::from_utf8(pin)) else {
        return;
    };
    let policies = [first, second].map(|request| requested(request).ok().map(|new| new.policy));
    let mut candidates = Vec::new();
    for (n, policy) in policies.into_iter().enumerate() {
        let Some(policy) = policy else { continue };
        let on = |switch: u8| switches.contains(&if n == 0 { switch } else { switch.to_ascii_uppercase() });
        let mut candidate = ready(n, policy);
        candidate.env_config = json::parse(config, &Limits::BODY).ok();
        if on(b'i') {
            let (id, owner) = pin.split_once(' ').map_or((pin, None), |(id, owner)| (id, Some(owner)));
            candidate.pin = Some(Pin { id: id.to_owned(), owner_id: owner.map(str::to_owned) });
        }
        if on(b'f') {
            candidate.plan = Plan::Free;
        }
        if on(b'p') {
            candidate.plan = Plan::Pro;
        }
        if on(b'e') {
            candidate.escrow = None;
        }
        candidate.escrow_key_loaded = !on(b'k');
        candidate.escrow_copy = !on(b'l');
        candidate.version = if on(b'v') { 0 } else { 3 };
        candidate.waiting_since -= if on(b'w') { 30 * 24 * 3600 } else { 0 };
        candidate.owner = if on(b'o') { "acme" } else { "alice" }.to_owned();
        candidates.push(candidate);
    }
    let facts = Facts {
        now: NOW,
        vault: "vault-abc".to_owned(),
        environment: environment.to_owned(),
        without_job_project: switches.contains(&b'j'),
        pull: !switches.contains(&b'x'),
        candidates,
    };
    for provider in Provider::ALL {
        if let Ok(parsed) = Claims::parse(provider, claims) {
            judge(&parsed, &Doc::parse(claims).expect("accepted claims are JSON"), &facts);
        }
    }
}

/// A policy in whose way nothing stands.
pub(crate) fn ready(n: usize, policy: Policy) -> Candidate {
    Candidate {
        id: Uuid::from_u128(n as u128 + 1),
        policy,
        owner: "alice".to_owned(),
        plan: Plan::Org,
        waiting_since: NOW,
        pin: None,
        escrow: Some(EscrowKind::Wrapping),
        escrow_key_loaded: true,
        escrow_copy: true,
        version: 3,
        env_config: None,
    }
}

/// Asserts everything that holds for every decision.
pub(crate) fn judge(claims: &Claims, raw: &Doc, facts: &Facts) {
    let of = |candidate| Request { provider: claims.provider(), claims: raw, facts, candidate };
    let granting: Vec<&Candidate> =
        facts.candidates.iter().filter(|candidate| of(candidate).is_granted()).collect();
    let verdict = decide(claims, facts);
    assert_eq!(verdict.outcome.is_ok(), !granting.is_empty(), "{verdict:?}\n{claims:?}\n{facts:?}");

    let rows = explain(claims, facts);
    assert!(rows.iter().all(|row| is_harmless(&row.expected) && is_harmless(&row.actual)));
    for candidate in &facts.candidates {
        let all_ok = rows.iter().filter(|row| row.policy == candidate.id).all(|row| row.ok);
        let grants = granting.iter().any(|granting| granting.id == candidate.id);
        assert_eq!(all_ok, grants, "{rows:#?}\n{claims:?}\n{candidate:?}");
    }

    let mut reversed = facts.clone();
    reversed.candidates.reverse();
    assert_eq!(decide(claims, &reversed).outcome.is_ok(), verdict.outcome.is_ok(), "order decides");

    match &verdict.outcome {
        Err(refusal) => {
            failure::holds(refusal);
            // Strangers are counted, and learn nothing about the vault.
            assert_eq!(verdict.counted, refusal.code == Code::NoPolicy);
            assert_eq!(verdict.counted, verdict.policy.is_none());
            let other = Facts { vault: "another".to_owned(), candidates: Vec::new(), ..facts.clone() };
            let unknown = decide(claims, &other).outcome.expect_err("there is no policy");
            assert!(!verdict.counted || unknown.body() == refusal.body());
        }
        Ok(grant) => {
            let first = granting[0];
            assert_eq!((verdict.policy, grant.policy, verdict.counted), (Some(first.id), first.id, false));
            assert_eq!(grant.asked, facts.environment);
            assert_eq!(grant.renamed, !of(first).is_named());
            let same_row =
                |other: &&&Candidate| other.policy.scope == first.policy.scope && other.owner == first.owner;
            let mut expected = of(first).environments();
            expected.retain(|name| granting.iter().filter(same_row).any(|other| of(other).permits(name)));
            assert_eq!(grant.environments, expected);
            assert!(!expected.is_empty());
            if let Some(pin) = &grant.pin {
                let known = first.pin.as_ref().map(|pin| &pin.id);
                assert!(known.is_none_or(|known| *known == pin.id), "a pin never changes by itself");
                assert_eq!(pin.owner_id.as_deref(), claims.owner_id());
            }
        }
    }
}
