//! J26 and J27: one token, one spelling; no text that another parser would read differently.

use crate::support::claims::github;
use crate::support::token::*;
use lpm_core::claims::{Claims, ClaimsError, Provider};
use lpm_core::failure::Code;
use lpm_core::json::JsonError;
use lpm_core::token::TokenError;

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const PARTS: [&str; 3] = ["header", "payload", "signature"];

/// The token with one part replaced.
fn with_part(token: &str, at: usize, part: &str) -> String {
    let mut parts = parts(token);
    parts[at] = part;
    parts.join(".")
}

#[test]
fn j26_text_that_is_no_unicode_is_refused() {
    // Added behind a payload that names its issuer, so that only the strict parser can object.
    let syntax: &[(&str, &[u8])] = &[
        ("invalid UTF-8", b"\"x\":\"\xff\""),
        ("cut-off UTF-8", b"\"x\":\"\xc3\""),
        ("overlong slash", b"\"x\":\"\xc0\xaf\""),
        ("overlong NUL", b"\"x\":\"\xc0\x80\""),
        ("a surrogate in UTF-8", b"\"x\":\"\xed\xa0\x80\""),
        ("beyond U+10FFFF", b"\"x\":\"\xf4\x90\x80\x80\""),
        ("lone leading surrogate", br#""x":"\ud800""#),
        ("lone trailing surrogate", br#""x":"\udc00""#),
        ("surrogates the wrong way round", br#""x":"\udc00\ud800""#),
        ("a leading surrogate before text", br#""x":"\ud800x""#),
        ("lone surrogate, nested", br#""x":[{"y":"\udfff"}]"#),
    ];
    for (case, members) in syntax {
        let payload = github().bytes_with(members);
        let error = Claims::parse(Provider::GitHub, &payload).unwrap_err();
        assert!(matches!(error, ClaimsError::Json(JsonError::Syntax(_))), "J26: {case}: {error:?}");
        assert_eq!(refusal(&token().payload(&payload).signed()), Some(error.into()), "J26: {case}");
    }
    let place = format!("${{{}}}", github().members());
    for (case, members, path) in [
        ("NUL in a value", r#""x":"\u0000""#, place.clone()),
        ("NUL in a name", r#""x\u0000":1"#, place.clone()),
        ("NUL behind a claim's name", r#""iss\u0000":"x""#, place.clone()),
        ("NUL, nested", r#""x":{"y":["\u0000"]}"#, format!("{place}{{0}}[0]")),
    ] {
        let payload = github().bytes_with(members);
        let error = ClaimsError::Json(JsonError::Nul { path });
        assert_eq!(Claims::parse(Provider::GitHub, &payload), Err(error.clone()), "J26: {case}");
        assert_eq!(refusal(&token().payload(&payload).signed()), Some(error.into()), "J26: {case}");
    }
    // A denial is a value with a row in the table of failures, so whoever counts denials can count it.
    let failure =
        refusal(&token().payload(github().bytes_with(r#""x":"\u0000""#)).signed()).unwrap().failure();
    assert_eq!((failure.code, failure.code.status()), (Code::TokenMalformed, 401), "J26");
}

#[test]
fn j26_text_around_the_issuer_is_refused_before_the_signature() {
    let issuer = "https://token.actions.githubusercontent.com";
    let cases: &[(&str, Vec<u8>)] = &[
        ("raw NUL behind the document", [&github().bytes(), b"\0".as_slice()].concat()),
        ("a byte order mark", [b"\xef\xbb\xbf", github().bytes().as_slice()].concat()),
        ("UTF-16", format!(r#"{{"iss":"{issuer}"}}"#).bytes().flat_map(|byte| [byte, 0]).collect()),
        ("invalid UTF-8 in iss", b"{\"iss\":\"https://token.actions\xff\"}".to_vec()),
        ("lone surrogate in iss", br#"{"iss":"https://token.actions\ud800"}"#.to_vec()),
        ("raw NUL in iss", b"{\"iss\":\"https://token.actions\0\"}".to_vec()),
        ("trailing data", [github().bytes(), github().bytes()].concat()),
        ("invalid UTF-8 in a name", github().bytes_with(b"\"\xff\":1")),
        ("lone surrogate in a name", github().bytes_with(br#""\ud800":1"#)),
    ];
    for (case, payload) in cases {
        let expected = Some(TokenError::NoIssuer);
        assert_eq!(refusal(&token().payload(payload).signed()), expected, "J26: {case}");
        assert_eq!(refusal(&token().payload(payload).signature([0])), expected, "J26: {case}, unsigned");
        Claims::parse(Provider::GitHub, payload).expect_err(case);
    }
    let header: &[(&str, &[u8])] = &[
        ("invalid UTF-8", b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}"),
        ("lone surrogate", br#"{"alg":"RS256","kid":"\ud800"}"#),
    ];
    for (case, header) in header {
        let error = refusal(&token().header(header).signed());
        let syntax = matches!(error, Some(TokenError::HeaderJson(JsonError::Syntax(_))));
        assert!(syntax, "J26: {case} in the header: {error:?}");
    }
}

#[test]
fn j27_only_base64url_without_padding_is_read() {
    let good = token().signed();
    for (at, name) in PARTS.into_iter().enumerate() {
        let part = parts(&good)[at];
        let middle = part.len() / 2;
        let within = |text: &str| format!("{}{text}{}", &part[..middle], &part[middle..]);
        let instead = |text: &str| format!("{}{text}{}", &part[..middle], &part[middle + text.len()..]);
        for (case, part) in [
            ("padding", format!("{part}=")),
            ("two of padding", format!("{part}==")),
            ("padding up to four", format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4 + 4))),
            ("padding first", format!("={part}")),
            ("`+` of the other alphabet", instead("+")),
            ("`/` of the other alphabet", instead("/")),
            ("a space first", format!(" {part}")),
            ("a space behind", format!("{part} ")),
            ("a space within", within(" ")),
            ("a line feed behind", format!("{part}\n")),
            ("a line feed within", within("\n")),
            ("CR LF within", within("\r\n")),
            ("a tab within", within("\t")),
            ("NUL within", within("\0")),
            ("percent encoding", instead("%2D")),
            ("full width", within("Ａ")),
            ("one character too many", format!("{}{}", &part[..part.len() / 4 * 4], "A")),
        ] {
            let respelled = with_part(&good, at, &part);
            assert_eq!(refusal(&respelled), Some(TokenError::Base64 { part: name }), "J27: {name}, {case}");
        }
    }
    assert_eq!(
        refusal(&format!("Bearer {good}")),
        Some(TokenError::Base64 { part: "header" }),
        "J27: a prefix"
    );
}

/// Every other last character that a lenient decoder reads as the same bytes.
#[test]
fn j27_unused_bits_give_no_second_spelling() {
    let mut checked = 0;
    for padding in 0..3 {
        // White space is free in JSON, so every length of header and payload can be had.
        let spaces = b" ".repeat(padding);
        let shifted = token().header([token().header, spaces.clone()].concat());
        let good = shifted.payload([github().bytes(), spaces].concat()).signed();
        assert_eq!(refusal(&good), None, "J27: {padding} spaces");
        for (at, name) in PARTS.into_iter().enumerate() {
            let part = parts(&good)[at];
            let unused_bits = match part.len() % 4 {
                0 => 0,
                2 => 4,
                _ => 2,
            };
            let (rest, last) = part.split_at(part.len() - 1);
            let value = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]).unwrap();
            for other in 1..1_usize << unused_bits {
                let respelled = format!("{rest}{}", char::from(ALPHABET[value | other]));
                let error = refusal(&with_part(&good, at, &respelled));
                assert_eq!(
                    error,
                    Some(TokenError::Base64 { part: name }),
                    "J27: {name} with the bits {other}"
                );
                checked += 1;
            }
        }
    }
    // Two of three lengths leave bits: 15 and 3 spellings of header and payload each, 15 of the signature.
    assert_eq!(checked, 2 * (15 + 3) + 3 * 15, "J27: every spelling of every part");
}

#[test]
fn j27_other_spellings_of_one_payload_count_as_uses_of_one_token() {
    let use_key = |payload: &[u8]| {
        let token = token().payload(payload).signed();
        verify(&token, &github_rules(), &keys(), NOW).expect("good").claims.use_key()
    };
    let payload = String::from_utf8(github().bytes()).unwrap();
    let escaped = payload
        .replace("https://token.actions", r"https:\/\/token\u002eactions")
        .replace("4d1f2b0e", r"\u0034d1f2b0e");
    let spaced = payload.replace(r#","jti":"#, " ,\n\"jti\" : ");
    let renamed = payload.replace(r#""jti""#, r#""\u006ati""#);
    for (case, other) in [("escapes", escaped), ("white space", spaced), ("an escaped name", renamed)] {
        assert_ne!(other, payload, "J27: {case}");
        assert_eq!(use_key(other.as_bytes()), use_key(payload.as_bytes()), "J27: {case}");
    }
}
