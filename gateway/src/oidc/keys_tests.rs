#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::oidc::testing::{key_set, times};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// An issuer whose answers are written down beforehand, and which answers when it is let.
struct Issuer {
    answers: Mutex<VecDeque<Result<KeySet, FetchError>>>,
    asked: AtomicUsize,
    let_answer: Semaphore,
}

impl Issuer {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn hold(&self) {
        self.let_answer.forget_permits(1000);
    }

    fn let_go(&self) {
        self.let_answer.add_permits(1000);
    }
}

impl Fetch for Arc<Issuer> {
    fn fetch(&self, _: Arc<Source>) -> BoxFuture<'static, Result<KeySet, FetchError>> {
        let this = Arc::clone(self);
        Box::pin(async move {
            this.asked.fetch_add(1, Ordering::SeqCst);
            this.let_answer.acquire().await.unwrap().forget();
            let answer = this.answers.lock().unwrap().pop_front();
            answer.expect("the issuer is not asked more often than it has answers")
        })
    }
}

const DOWN: Result<KeySet, FetchError> = Err(FetchError::Timeout);

fn published(kids: &[&str]) -> Result<KeySet, FetchError> {
    Ok(key_set(kids))
}

fn cache(answers: impl IntoIterator<Item = Result<KeySet, FetchError>>) -> (Arc<KeyCache>, Arc<Issuer>) {
    let issuer = Arc::new(Issuer {
        answers: Mutex::new(answers.into_iter().collect()),
        asked: AtomicUsize::new(0),
        let_answer: Semaphore::new(1000),
    });
    let source = Source { issuer: "https://i".to_owned(), jwks_uri: None, allow_private_addresses: false };
    (KeyCache::new(source, Arc::new(Arc::clone(&issuer)), times()), issuer)
}

async fn knows(cache: &Arc<KeyCache>, kid: &str, now: Instant) -> bool {
    cache.for_key_id(kid, now).await.is_some_and(|keys| keys.contains(kid))
}

/// Waits for the fetch that is under way.
async fn landed(cache: &KeyCache) {
    let running = cache.flight().running.clone();
    if let Some(mut running) = running {
        let _ = running.changed().await;
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn the_first_token_waits_for_the_keys_and_later_ones_never_do() {
    let (cache, issuer) = cache([published(&["a"])]);
    let now = Instant::now();
    assert!(knows(&cache, "a", now).await);
    issuer.hold();
    for _ in 0..100 {
        assert_eq!(knows(&cache, "a", now).now_or_never(), Some(true));
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn j30_a_flood_of_unknown_key_ids_costs_one_fetch_and_valid_tokens_do_not_wait_for_it() {
    let (cache, issuer) = cache([published(&["a"]), published(&["a"]), published(&["a"])]);
    let start = Instant::now();
    assert!(knows(&cache, "a", start).await);
    issuer.hold();
    let later = start + seconds(10);
    let flood: Vec<_> = (0..500)
        .map(|n| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { knows(&cache, &format!("unknown-{n}"), later).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(knows(&cache, "a", later).now_or_never(), Some(true), "with the fetch still under way");
    issuer.let_go();
    for token in flood {
        assert!(!token.await.unwrap());
    }
    assert_eq!(issuer.asked(), 2);
    for n in 0..500 {
        assert_eq!(
            knows(&cache, &format!("again-{n}"), later + seconds(9)).now_or_never(),
            Some(false),
            "answered at once"
        );
    }
    assert_eq!(issuer.asked(), 2, "within the cool-down");
    assert!(!knows(&cache, "again", later + seconds(10)).await);
    assert_eq!(issuer.asked(), 3, "and after it");
}

#[tokio::test]
async fn a_new_key_is_found_by_the_token_that_uses_it() {
    let (cache, _) = cache([published(&["a"]), published(&["a", "b"])]);
    let start = Instant::now();
    assert!(knows(&cache, "a", start).await);
    assert!(!knows(&cache, "b", start + seconds(9)).await, "cooling down");
    assert!(knows(&cache, "b", start + seconds(10)).await);
}

#[tokio::test]
async fn j30_j31_the_cool_down_holds_after_failures_too() {
    let (cache, issuer) = cache([DOWN, DOWN, published(&["a"])]);
    let start = Instant::now();
    assert!(cache.for_key_id("a", start).await.is_none());
    for _ in 0..100 {
        assert!(cache.for_key_id("a", start + seconds(9)).now_or_never().expect("at once").is_none());
    }
    assert_eq!(issuer.asked(), 1);
    assert!(cache.for_key_id("a", start + seconds(10)).await.is_none());
    assert_eq!(issuer.asked(), 2);
    assert!(knows(&cache, "a", start + seconds(20)).await);
}

#[tokio::test]
async fn j30_a_caller_who_hangs_up_does_not_end_the_fetch() {
    let (cache, issuer) = cache([published(&["a"])]);
    let now = Instant::now();
    issuer.hold();
    assert!(knows(&cache, "a", now).now_or_never().is_none(), "waits, and is then dropped");
    issuer.let_go();
    landed(&cache).await;
    assert_eq!(knows(&cache, "a", now).now_or_never(), Some(true));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn j29_an_answer_without_a_usable_key_keeps_the_keys_there_are() {
    let unusable = || {
        let reason = KeySet::parse(br#"{"keys":[]}"#).expect_err("it is empty").to_string();
        Err(FetchError::Keys { url: "https://i/keys".to_owned(), reason })
    };
    let (cache, issuer) = cache([published(&["a"]), unusable(), unusable(), published(&["b"])]);
    let start = Instant::now();
    assert!(knows(&cache, "a", start).await);
    for due in [300, 310] {
        cache.refresh_if_due(start + seconds(due));
        landed(&cache).await;
        assert_eq!(knows(&cache, "a", start + seconds(due)).now_or_never(), Some(true), "after {due} s");
    }
    cache.refresh_if_due(start + seconds(320));
    landed(&cache).await;
    assert_eq!(issuer.asked(), 4, "asked again after each cool-down");
    assert!(knows(&cache, "b", start + seconds(321)).await);
    assert!(!knows(&cache, "a", start + seconds(321)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j29_a_set_is_replaced_as_a_whole() {
    const FETCHES: u64 = 200;
    let sets = (0..=FETCHES).map(|n| published(if n % 2 == 0 { &["a", "b"] } else { &["c", "d"] }));
    let (cache, _) = cache(sets);
    let start = Instant::now();
    assert!(knows(&cache, "a", start).await);
    let reader = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            let mut seen = [0, 0];
            while cache.current().is_some_and(|loaded| loaded.since < start + seconds(300 * FETCHES)) {
                // within the cool-down of the first fetch, so it only looks
                let keys = cache.for_key_id("unknown", start).await.unwrap();
                let has = ["a", "b", "c", "d"].map(|kid| keys.contains(kid));
                assert!(has == [true, true, false, false] || has == [false, false, true, true], "{has:?}");
                seen[usize::from(has[2])] += 1;
                tokio::task::yield_now().await;
            }
            seen
        })
    };
    for n in 1..=FETCHES {
        cache.refresh_if_due(start + seconds(300 * n));
        landed(&cache).await;
    }
    let seen = reader.await.unwrap();
    assert!(seen[0] + seen[1] > 0, "{seen:?}");
}

#[tokio::test]
async fn j32_a_removed_key_fails_after_the_scheduled_refresh() {
    let (cache, issuer) = cache([published(&["a", "leaked"]), published(&["a"])]);
    let start = Instant::now();
    assert!(knows(&cache, "leaked", start).await);
    cache.refresh_if_due(start + seconds(299));
    landed(&cache).await;
    assert_eq!(issuer.asked(), 1, "not due yet");
    cache.refresh_if_due(start + seconds(300));
    landed(&cache).await;
    assert_eq!(issuer.asked(), 2);
    assert!(!knows(&cache, "leaked", start + seconds(301)).await);
    assert!(knows(&cache, "a", start + seconds(301)).await);
}

#[tokio::test]
async fn j32_a_removed_key_fails_as_soon_as_anything_has_the_keys_fetched() {
    // an unknown key id, not the schedule
    let (cache, issuer) = cache([published(&["a", "leaked"]), published(&["a"])]);
    let start = Instant::now();
    assert!(knows(&cache, "leaked", start).await);
    assert!(!knows(&cache, "unknown", start + seconds(10)).await);
    assert_eq!(issuer.asked(), 2);
    assert_eq!(knows(&cache, "leaked", start + seconds(11)).now_or_never(), Some(false));
}

#[tokio::test]
async fn j33_an_issuer_that_nobody_uses_is_never_contacted() {
    let (cache, issuer) = cache([]);
    cache.refresh_if_due(Instant::now() + seconds(100_000));
    landed(&cache).await;
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn j31_stale_keys_serve_through_an_outage_until_the_hard_limit() {
    let day = 24 * 60 * 60;
    let (cache, issuer) = cache([published(&["a"])].into_iter().chain((0..20).map(|_| DOWN)));
    let start = Instant::now();
    assert!(knows(&cache, "a", start).await);
    for hour in 1..=10 {
        let now = start + seconds(hour * 3600);
        cache.refresh_if_due(now);
        cache.refresh_if_due(now + seconds(1));
        landed(&cache).await;
        assert_eq!(knows(&cache, "a", now).now_or_never(), Some(true), "hour {hour}");
    }
    assert_eq!(issuer.asked(), 11, "one fetch per cool-down");
    assert!(knows(&cache, "a", start + seconds(day - 1)).await);
    assert!(cache.for_key_id("a", start + seconds(day)).await.is_none());
}

#[tokio::test]
async fn j31_j32_after_an_outage_the_first_fetch_that_succeeds_counts() {
    let (cache, _) = cache([published(&["a"]), DOWN, published(&["b"])]);
    let start = Instant::now();
    assert!(knows(&cache, "a", start).await);
    cache.refresh_if_due(start + seconds(300));
    landed(&cache).await;
    cache.refresh_if_due(start + seconds(310));
    landed(&cache).await;
    assert!(knows(&cache, "b", start + seconds(311)).await);
    assert!(!knows(&cache, "a", start + seconds(311)).await);
}

#[tokio::test]
async fn j31_a_fetch_that_panics_wedges_nothing() {
    let (cache, issuer) = cache([]);
    let start = Instant::now();
    assert!(cache.for_key_id("a", start).await.is_none());
    issuer.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(published(&["a"]));
    assert!(knows(&cache, "a", start + seconds(10)).await);
}
