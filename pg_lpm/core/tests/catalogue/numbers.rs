//! J25: numbers that parsers, PostgreSQL's `numeric` and arithmetic read differently.

use crate::support::claims::github;
use crate::support::token::*;
use lpm_core::claims::{Claims, ClaimsError, Provider};
use lpm_core::json::JsonError;
use lpm_core::token::TokenError;

const LARGEST: i64 = 1 << 53;

/// A push whose `exp` is written like this, with the error of a reader that needs no issuer first.
fn with_exp(number: &str) -> (Vec<u8>, Option<ClaimsError>) {
    let payload = github().without("exp").bytes_with(format!(r#""exp":{number}"#));
    let error = Claims::parse(Provider::GitHub, &payload).err();
    (payload, error)
}

#[test]
fn j25_a_time_is_an_integer_that_every_parser_reads_exactly() {
    let type_error = ClaimsError::Type { claim: "exp", expected: "a whole number of seconds since 1970" };
    for (case, number) in [
        ("2^53 + 1", "9007199254740993"),
        ("-1", "-1"),
        ("-(2^53)", "-9007199254740992"),
        ("-(2^53) - 1", "-9007199254740993"),
        ("largest of 64 bits", "9223372036854775807"),
        ("beyond 64 bits, signed", "9223372036854775808"),
        ("largest of 64 bits, unsigned", "18446744073709551615"),
        ("beyond 64 bits", "18446744073709551616"),
        ("30 digits", "179000030000000000000000000000"),
        ("-0", "-0"),
        ("-0.0", "-0.0"),
        ("0.0", "0.0"),
        ("a whole number with an exponent", "17900003e2"),
        ("a whole number with a fraction", "1790000300.0"),
        ("a fraction", "1790000300.5"),
        ("1e300, a double", "1e300"),
        ("a double that is nearly nothing", "1e-300"),
        ("underflow", "1e-100000"),
    ] {
        let (payload, error) = with_exp(number);
        assert_eq!(error, Some(type_error.clone()), "J25: {case}");
        let refused = refusal(&token().payload(payload).signed());
        assert_eq!(refused, Some(type_error.clone().into()), "J25: {case}, in a token");
    }
    for (case, number) in [("2^53", LARGEST.to_string()), ("0", "0".to_owned())] {
        assert_eq!(with_exp(&number).1, None, "J25: {case}");
    }
    let latest = token().payload(with_exp(&LARGEST.to_string()).0).signed();
    assert_eq!(
        refusal(&latest),
        Some(TokenError::Lifetime),
        "J25: 2^53 cannot overflow the arithmetic on times"
    );
}

#[test]
fn j25_a_number_beyond_double_refuses_the_token_wherever_it_stands() {
    let digits = "9".repeat(131_072);
    for (case, number) in [
        ("1e400", "1e400"),
        ("1e100000", "1e100000"),
        ("-1e100000", "-1e100000"),
        ("an exponent beyond 64 bits", "1e99999999999999999999"),
        ("131,072 digits", digits.as_str()),
        ("131,072 digits behind a sign", &format!("-{digits}")),
    ] {
        for claim in ["x", "runner_id"] {
            let payload = github().bytes_with(format!(r#""{claim}":{number}"#));
            let error = Claims::parse(Provider::GitHub, &payload).expect_err(case);
            assert!(matches!(error, ClaimsError::Json(JsonError::Syntax(_))), "J25: {case}: {error:?}");
            let token = token().payload(&payload).signed();
            let expected = if number.len() > 1000 { TokenError::TooLarge } else { error.into() };
            assert_eq!(refusal(&token), Some(expected), "J25: {case} in `{claim}`, in a token");
        }
        let (_, error) = with_exp(number);
        assert!(matches!(error, Some(ClaimsError::Json(JsonError::Syntax(_)))), "J25: {case}: {error:?}");
    }
}

#[test]
fn j25_what_is_no_number_in_json_is_none_here() {
    for (case, number) in [
        ("NaN", "NaN"),
        ("nan", "nan"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("a plus", "+1790000300"),
        ("a leading zero", "01790000300"),
        ("hexadecimal", "0x6ab13d2c"),
        ("no digit before the point", ".5"),
        ("no digit behind the point", "1790000300."),
        ("no digit in the exponent", "1e"),
        ("separators", "1_790_000_300"),
        ("a sign alone", "-"),
    ] {
        let (payload, error) = with_exp(number);
        assert!(matches!(error, Some(ClaimsError::Json(JsonError::Syntax(_)))), "J25: {case}: {error:?}");
        // The gateway finds no issuer in what is no JSON.
        let refused = refusal(&token().payload(payload).signed());
        assert_eq!(refused, Some(TokenError::NoIssuer), "J25: {case}, in a token");
    }
}
