//! How much one caller may ask for in a minute.
//!
//! Three budgets, each per key and each spent by what has already happened: tokens that failed verification by the
//! address they came from; denials and grants by the repository that a verified token names. A token is always
//! verified, whatever its address has done before: that costs less than receiving it, and a job must not suffer from
//! its neighbours. Only what is answered to a token that fails depends on the address.

use crate::config::Budgets;
use crate::reply::Refusal;
use lpm_core::claims::{Claims, Job};
use lpm_core::failure::{Code, Failure};
use lru::LruCache;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// How many keys a budget remembers; the one that was met least recently is forgotten, and starts afresh.
const KEYS: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// All of them.
pub(crate) struct Limits {
    failed: Budget,
    denied: Budget,
    granted: Budget,
}

impl Limits {
    pub(crate) fn new(budgets: Budgets) -> Self {
        Self {
            failed: Budget::new(budgets.failed),
            denied: Budget::new(budgets.denied),
            granted: Budget::new(budgets.granted),
        }
    }

    /// What is answered to a token from `client` that was refused with `failure`.
    pub(crate) fn failed(&self, client: Option<IpAddr>, failure: Failure) -> Refusal {
        // Not the token's fault, or nobody's whom we know.
        let (401, Some(client)) = (failure.code.status(), client) else { return failure.into() };
        match self.failed.spend(&network(client), Instant::now()) {
            Ok(()) => failure.into(),
            Err(wait) => Refusal::Later(Code::FailedTokensLimited.into(), wait),
        }
    }

    /// May the job ask? Whoever has used up either budget is refused before the database is asked.
    pub(crate) fn may_ask(&self, claims: &Claims) -> Result<(), Refusal> {
        let (key, now) = (repository(claims), Instant::now());
        let later = |code| move |wait| Refusal::Later(Failure::new(code), wait);
        self.denied.look(&key, now).map_err(later(Code::DenialsLimited))?;
        self.granted.look(&key, now).map_err(later(Code::PullsLimited))
    }

    /// Takes note of what the database answered.
    pub(crate) fn answered(&self, claims: &Claims, status: u16) {
        let budget = match status {
            200 => &self.granted,
            403 => &self.denied,
            _ => return,
        };
        // The answer is given; the next one may be the one too many.
        let _ = budget.spend(&repository(claims), Instant::now());
    }
}

/// The issuer and its id of the repository or project, which no rename changes.
fn repository(claims: &Claims) -> (&str, &str) {
    match &claims.job {
        Job::GitHub(job) => (&claims.issuer, &job.repository_id),
        Job::GitLab(job) => (&claims.issuer, &job.project_id),
    }
}

/// An IPv4 address, or the network of an IPv6 address that one caller has to themselves.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// So many in a minute, all at once or one after the other: for each key the moment at which its budget will be whole
/// again (the generic cell rate algorithm).
struct Budget {
    /// What spending one takes to come back; `None` where there is no limit.
    step: Option<Duration>,
    /// By a keyed hash, so that a key takes the same little room whatever it holds.
    whole_again: Mutex<LruCache<u64, Instant>>,
    hasher: RandomState,
}

impl Budget {
    fn new(per_minute: u32) -> Self {
        let step = (per_minute > 0).then(|| MINUTE / per_minute);
        Self { step, whole_again: Mutex::new(LruCache::new(KEYS)), hasher: RandomState::new() }
    }

    /// Is anything left? Otherwise how long until there is.
    fn look(&self, key: &impl Hash, now: Instant) -> Result<(), Duration> {
        self.next(key, now, false)
    }

    /// Spends one, if it is left.
    fn spend(&self, key: &impl Hash, now: Instant) -> Result<(), Duration> {
        self.next(key, now, true)
    }

    fn next(&self, key: &impl Hash, now: Instant, spend: bool) -> Result<(), Duration> {
        let Some(step) = self.step else { return Ok(()) };
        let key = self.hasher.hash_one(key);
        let mut whole_again = self.whole_again.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = whole_again.get(&key).map_or(now, |whole| now.max(*whole)) + step;
        let ahead = whole.saturating_duration_since(now);
        if ahead > MINUTE {
            return Err(ahead - MINUTE);
        }
        if spend {
            whole_again.put(key, whole);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_budget_can_be_spent_at_once_and_comes_back_bit_by_bit() {
        let (budget, now) = (Budget::new(6), Instant::now());
        for _ in 0..6 {
            assert_eq!(budget.look(&"key", now), Ok(()));
            assert_eq!(budget.spend(&"key", now), Ok(()));
        }
        assert_eq!(budget.look(&"key", now), Err(second(10)));
        assert_eq!(budget.spend(&"key", now), Err(second(10)));
        assert_eq!(budget.spend(&"key", now + second(4)), Err(second(6)));
        assert_eq!(budget.spend(&"other", now), Ok(()));
        assert_eq!(budget.spend(&"key", now + second(10)), Ok(()));
        assert_eq!(budget.spend(&"key", now + second(10)), Err(second(10)));
        let later = now + second(600);
        assert_eq!(
            (0..7).filter(|_| budget.spend(&"key", later).is_ok()).count(),
            6,
            "never more than all of it"
        );
    }

    #[test]
    fn looking_spends_nothing() {
        let (budget, now) = (Budget::new(1), Instant::now());
        for _ in 0..3 {
            assert_eq!(budget.look(&"key", now), Ok(()));
        }
        assert_eq!(budget.spend(&"key", now), Ok(()));
    }

    #[test]
    fn no_limit_is_none() {
        let (budget, now) = (Budget::new(0), Instant::now());
        assert!((0..10_000).all(|_| budget.spend(&"key", now).is_ok()));
        assert_eq!(budget.whole_again.lock().expect("no panic").len(), 0);
    }

    #[test]
    fn however_many_keys_there_are_only_so_many_are_remembered() {
        let (budget, now) = (Budget::new(1), Instant::now());
        assert_eq!(budget.spend(&u64::MAX, now), Ok(()));
        for key in 0..200_000_u64 {
            assert_eq!(budget.spend(&key, now), Ok(()));
            // whoever goes on asking is not forgotten
            assert!(budget.look(&u64::MAX, now).is_err());
        }
        assert_eq!(budget.whole_again.lock().expect("no panic").len(), KEYS.get());
    }

    #[test]
    fn an_ipv6_network_is_one_caller_and_an_ipv4_address_too() {
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let of = |text: &str| network(text.parse().expect("an address"));
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }

    #[test]
    fn an_address_is_told_why_its_tokens_fail_until_too_many_have() {
        let limits = Limits::new(Budgets { failed: 2, denied: 0, granted: 0 });
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        let answer = |client, code: Code| match limits.failed(client, code.into()) {
            Refusal::Failure(failure) | Refusal::Later(failure, _) => failure.code,
            Refusal::Database(_) => Code::Internal,
        };
        assert_eq!(answer(client, Code::TokenSignature), Code::TokenSignature);
        assert_eq!(answer(client, Code::IssuerUnavailable), Code::IssuerUnavailable, "which costs nothing");
        assert_eq!(answer(client, Code::TokenExpired), Code::TokenExpired);
        assert_eq!(answer(client, Code::TokenExpired), Code::FailedTokensLimited);
        assert_eq!(answer(client, Code::IssuerUnavailable), Code::IssuerUnavailable);
        assert_eq!(answer(Some(IpAddr::from([192, 0, 2, 2])), Code::TokenExpired), Code::TokenExpired);
        assert_eq!(answer(None, Code::TokenExpired), Code::TokenExpired);
    }
}
