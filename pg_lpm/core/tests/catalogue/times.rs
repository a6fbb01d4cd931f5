//! J10 and J11: when a token is good, to the second, with the clock as an argument.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::token::*;
use lpm_core::claims::ClaimsError;
use lpm_core::token::{IssuerRules, LEEWAY, TokenError};

/// When the fixtures were issued: 600 s after their `nbf` (GitHub), 300 s before their `exp` (GitHub).
const IAT: i64 = 1_790_000_000;

fn error(payload: &Payload, now: i64) -> Option<TokenError> {
    verify(&token_of(payload).signed(), &github_rules(), &keys(), now).err()
}

#[test]
fn j10_a_token_is_good_between_its_times_and_for_a_lifetime_that_its_issuer_is_trusted_with() {
    use TokenError::{EndsBeforeItStarts, Expired, Lifetime, NotYetValid, TooOld};
    assert_eq!((LEEWAY, github_rules().max_lifetime, github_rules().max_age), (30, 600, 600));
    let ends = |exp: i64| github().with("exp", exp);
    let starts = |nbf: i64| github().with("nbf", nbf);
    for (case, payload, now, expected) in [
        ("fresh", github(), IAT, None),
        ("the last second of the leeway", github(), IAT + 329, None),
        ("exp exactly at the leeway's edge", github(), IAT + 330, Some(Expired)),
        ("expired", github(), IAT + 331, Some(Expired)),
        ("expired long ago", github(), IAT + 86_400, Some(Expired)),
        ("iat within the leeway", github(), IAT - 30, None),
        ("iat in the future", github(), IAT - 31, Some(NotYetValid)),
        ("iat far in the future", github(), IAT - 86_400, Some(NotYetValid)),
        ("nbf within the leeway", starts(IAT + 30), IAT, None),
        ("nbf in the future", starts(IAT + 31), IAT, Some(NotYetValid)),
        ("nbf behind exp", starts(IAT + 400), IAT + 200, Some(NotYetValid)),
        ("nbf is optional", github().without("nbf"), IAT, None),
        ("exp = iat", ends(IAT), IAT, Some(EndsBeforeItStarts)),
        ("exp < iat", ends(IAT - 1), IAT, Some(EndsBeforeItStarts)),
        ("exp < iat by years", ends(0), IAT, Some(EndsBeforeItStarts)),
        ("the longest lifetime", ends(IAT + 600), IAT, None),
        ("a second longer", ends(IAT + 601), IAT, Some(Lifetime)),
        ("ten years", ends(IAT + 315_360_000), IAT, Some(Lifetime)),
        ("for ever", ends(1 << 53), IAT, Some(Lifetime)),
        ("iat 0", github().with("iat", 0), IAT, Some(Lifetime)),
        ("at the age limit", ends(IAT + 600), IAT + 629, None),
        ("a clock at the end of time", github(), i64::MAX, Some(Expired)),
        ("a clock at its beginning", github(), i64::MIN, Some(NotYetValid)),
        (
            "iat beyond a clock at the end",
            github().with("iat", 1_i64 << 53).with("exp", 1_i64 << 53),
            i64::MAX,
            Some(EndsBeforeItStarts),
        ),
    ] {
        assert_eq!(error(&payload, now), expected, "J10: {case}");
    }
    // Age is a rule of its own, so it is seen only where the lifetime allows more.
    let long = IssuerRules { max_lifetime: 3600, ..github_rules() };
    let hour = token_of(&ends(IAT + 3600)).signed();
    for (case, now, expected) in [("630 s old", IAT + 630, None), ("631 s old", IAT + 631, Some(TooOld))] {
        assert_eq!(verify(&hour, &long, &keys(), now).err(), expected, "J10: {case}");
    }
}

#[test]
fn j10_a_time_that_is_missing_is_not_made_up() {
    for claim in ["exp", "iat"] {
        let missing = Some(TokenError::Claims(ClaimsError::Missing { claim }));
        assert_eq!(error(&github().without(claim), NOW), missing, "J10: no {claim}");
        assert_eq!(error(&github().with(claim, serde_json::Value::Null), NOW), missing, "J10: {claim} null");
        let gitlab = token_of(&gitlab().without(claim)).signed();
        assert_eq!(
            verify(&gitlab, &gitlab_rules(), &keys(), NOW).err(),
            missing,
            "J10: no {claim} on GitLab"
        );
    }
}

#[test]
fn j11_an_old_token_is_refused_though_it_has_not_expired() {
    let week = token_of(&gitlab().with("exp", IAT + 604_800)).signed();
    let trusting = IssuerRules { max_lifetime: 604_800, max_age: 3600, ..gitlab_rules() };
    for (case, now, expected) in [
        ("fresh", IAT, None),
        ("an hour old", IAT + 3600, None),
        ("an hour and the leeway", IAT + 3630, None),
        ("a second more", IAT + 3631, Some(TokenError::TooOld)),
        ("a day before it expires", IAT + 518_400, Some(TokenError::TooOld)),
    ] {
        assert_eq!(verify(&week, &trusting, &keys(), now).err(), expected, "J11: `timeout: 1w`, {case}");
    }
    let error = verify(&week, &gitlab_rules(), &keys(), IAT).err();
    assert_eq!(error, Some(TokenError::Lifetime), "J11: gitlab.com's own row does not trust a week at all");
}
