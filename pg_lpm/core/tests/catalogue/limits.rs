//! J23 and J24: sizes and depths, each at its limit and one beyond.

use crate::support::claims::{github, gitlab};
use crate::support::token::*;
use lpm_core::claims::{Claims, ClaimsError, Provider};
use lpm_core::json::{self, JsonError, Limits};
use lpm_core::token::{KeySet, KeySetError, MAX_TOKEN, TokenError};
use serde_json::json;

fn nested(open: &str, close: &str, levels: usize) -> String {
    format!("{}0{}", open.repeat(levels), close.repeat(levels))
}

#[test]
fn j23_a_token_is_measured_before_anything_is_decoded() {
    for (case, token, expected) in [
        // Neither base64 nor three parts: nobody looked.
        ("16 KiB + 1 of no base64", "!".repeat(MAX_TOKEN + 1), TokenError::TooLarge),
        ("16 KiB of no base64", "!".repeat(MAX_TOKEN), TokenError::Parts),
        ("1 MB of dots", ".".repeat(1 << 20), TokenError::TooLarge),
        (
            "1 MB in one claim",
            token_of(&github().with("x", "x".repeat(1 << 20))).signed(),
            TokenError::TooLarge,
        ),
        (
            "100,000 groups",
            token_of(&gitlab().with("groups_direct", vec!["g"; 100_000])).signed(),
            TokenError::TooLarge,
        ),
        (
            "a header of 2 KiB that is no base64",
            format!("{}.e30.AA", "!".repeat(2048)),
            TokenError::Base64 { part: "header" },
        ),
        (
            "a header as long as 2049 bytes are in base64, and is none",
            format!("{}.e30.AA", "!".repeat(2732)),
            TokenError::Base64 { part: "header" },
        ),
        ("a character more", format!("{}.e30.AA", "!".repeat(2733)), TokenError::HeaderTooLarge),
        (
            "a header of 3 KiB that is no base64",
            format!("{}.e30.AA", "!".repeat(3072)),
            TokenError::HeaderTooLarge,
        ),
    ] {
        assert_eq!(refusal(&token), Some(expected), "J23: {case}");
    }
    // The largest token that is one: filled up with white space, which means nothing.
    let spaces = |count: usize| token().payload([github().bytes(), b" ".repeat(count)].concat());
    let signature = 1 + base64([0; 256]).len();
    let fits = |count: &usize| spaces(*count).unsigned().len() + signature <= MAX_TOKEN;
    let largest = (0..MAX_TOKEN).rev().find(fits).unwrap();
    assert_eq!(refusal(&spaces(largest).signed()), None, "J23: the largest");
    assert_eq!(refusal(&spaces(largest + 1).signed()), Some(TokenError::TooLarge), "J23: a byte more");
}

#[test]
fn j23_a_header_has_at_most_2048_bytes_and_8_members() {
    let plain = r#"{"alg":"RS256","kid":"key-1"}"#;
    let spaces = |total: usize| format!("{}{plain}", " ".repeat(total - plain.len()));
    let many: String = (0..7).map(|n| format!(r#","x{n}":"""#)).collect();
    let nine = plain.replace('}', &format!("{many}}}"));
    let members = JsonError::TooManyMembers { path: "$".to_owned(), max: 8 };
    for (case, header, expected) in [
        ("2048 bytes", spaces(2048), None),
        ("2049 bytes", spaces(2049), Some(TokenError::HeaderTooLarge)),
        ("9 members", nine, Some(TokenError::HeaderJson(members))),
        (
            "8 members, none known",
            plain.replace('}', &format!("{}}}", &many[..many.len() - 8])),
            Some(TokenError::HeaderParameter),
        ),
    ] {
        assert_eq!(refusal(&token().header(header).signed()), expected, "J23: {case}");
    }
}

#[test]
fn j23_claims_have_limits_that_no_issuer_reaches() {
    let base = github().members();
    let members = |count: usize| (0..count).map(|n| format!(r#""x{n}":1"#)).collect::<Vec<_>>().join(",");
    let items = |count: usize| format!(r#""x":[{}]"#, vec!["0"; count].join(","));
    let string = |length: usize| format!(r#""x":"{}""#, "x".repeat(length));
    let name = |length: usize| format!(r#""{}":1"#, "x".repeat(length));
    let place = format!("${{{base}}}");
    let too_many_members = || JsonError::TooManyMembers { path: "$".to_owned(), max: 128 };
    let too_many_items = || JsonError::TooManyItems { path: place.clone(), max: 256 };
    let too_long = || JsonError::StringTooLong { path: place.clone(), max: 4096 };
    let (all, huge) = (128 - base, 10_000);
    for (case, raw, expected) in [
        ("128 members", members(all), None),
        ("129 members", members(all + 1), Some(too_many_members())),
        ("10,000 claims", members(huge), Some(too_many_members())),
        ("256 items", items(256), None),
        ("257 items", items(257), Some(too_many_items())),
        ("100,000 items", items(100_000), Some(too_many_items())),
        ("a string of 4 KiB", string(4096), None),
        ("a string of 4 KiB + 1", string(4097), Some(too_long())),
        (
            "4 KiB + 1 of bytes in fewer characters",
            format!(r#""x":"{}""#, "é".repeat(2049)),
            Some(too_long()),
        ),
        ("a name of 4 KiB + 1", name(4097), Some(too_long())),
        (
            "a nested list",
            format!(r#""x":{{"y":[{}]}}"#, vec!["0"; 257].join(",")),
            Some(JsonError::TooManyItems { path: format!("{place}{{0}}"), max: 256 }),
        ),
    ] {
        let payload = github().bytes_with(&raw);
        let parsed = Claims::parse(Provider::GitHub, &payload).err();
        assert_eq!(parsed, expected.clone().map(ClaimsError::Json), "J23: {case}");
        let signed = token().payload(payload).signed();
        let by_gateway = if signed.len() > MAX_TOKEN {
            Some(TokenError::TooLarge)
        } else {
            expected.map(|error| ClaimsError::Json(error).into())
        };
        assert_eq!(refusal(&signed), by_gateway, "J23: {case}, in a token");
    }
}

/// As deep as the attack, on a stack far smaller than any thread of gateway or server has.
#[test]
fn j24_depth_never_reaches_the_stack() {
    const STACK: usize = 128 * 1024;
    let too_deep = |max| JsonError::TooDeep { max };
    let attack = move || {
        for (open, close) in [("[", "]"), (r#"{"x":"#, "}"), (r#"[{"x":"#, "}]")] {
            let deep = nested(open, close, 100_000);
            for limits in [Limits::HEADER, Limits::CLAIMS, Limits::KEYS] {
                let expected = Err(too_deep(limits.depth));
                assert_eq!(json::parse(deep.as_bytes(), &limits), expected, "J24: {open}");
            }
            let in_a_claim = github().bytes_with(format!(r#""x":{deep}"#));
            let expected = ClaimsError::Json(too_deep(8));
            assert_eq!(Claims::parse(Provider::GitHub, &in_a_claim), Err(expected.clone()), "J24: {open}");
            assert_eq!(
                Claims::parse(Provider::GitLab, deep.as_bytes()),
                Err(expected.clone()),
                "J24: {open}"
            );
            assert_eq!(
                refusal(&token().payload(&in_a_claim).signed()),
                Some(TokenError::TooLarge),
                "J24: {open}"
            );

            // As many levels as a token holds.
            let deep = nested(open, close, 1000);
            let in_a_claim = github().bytes_with(format!(r#""x":{deep}"#));
            assert_eq!(refusal(&token().payload(in_a_claim).signed()), Some(expected.into()), "J24: {open}");
            let in_iss = format!(r#"{{"iss":{deep}}}"#);
            assert_eq!(
                refusal(&token().payload(in_iss).signed()),
                Some(TokenError::NoIssuer),
                "J24: {open} in iss"
            );
            assert_eq!(
                refusal(&token().payload(&deep).signed()),
                Some(TokenError::NoIssuer),
                "J24: {open} alone"
            );
            let deep = nested(open, close, 150);
            let header = token().header(&deep).signed();
            assert_eq!(refusal(&header), Some(TokenError::HeaderJson(too_deep(1))), "J24: {open} as header");
        }
        let keys = nested("[", "]", 50_000);
        let in_keys = format!(r#"{{"keys":[{{"kid":{}}}]}}"#, nested("[", "]", 40_000));
        for document in [keys, in_keys] {
            assert_eq!(
                KeySet::parse(document.as_bytes()).err(),
                Some(KeySetError::Json(too_deep(8))),
                "J24: keys"
            );
        }
        let body = nested("[", "]", 100_000);
        assert_eq!(json::check(body.as_bytes(), &Limits::BODY), Err(too_deep(64)), "J24: a request's body");
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(attack).unwrap();
    thread.join().expect("J24: every case as asserted");
}

#[test]
fn j24_eight_levels_are_read_and_nine_are_not() {
    let with =
        |levels: usize| token().payload(github().bytes_with(format!(r#""x":{}"#, nested("[", "]", levels))));
    assert_eq!(refusal(&with(7).signed()), None, "J24: 8 levels, the payload's own included");
    let expected = ClaimsError::Json(JsonError::TooDeep { max: 8 });
    assert_eq!(refusal(&with(8).signed()), Some(expected.into()), "J24: 9 levels");
    let shallow = json!({"alg": "RS256", "kid": "key-1", "x5t": {}}).to_string();
    let expected = TokenError::HeaderJson(JsonError::TooDeep { max: 1 });
    assert_eq!(refusal(&token().header(shallow).signed()), Some(expected), "J24: a header has one level");
}
