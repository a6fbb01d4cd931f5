use super::*;

fn refused(address: &str) -> String {
    checked("LPM_REGISTRY_URL", address)
        .err()
        .unwrap_or_else(|| panic!("{address} is accepted"))
        .lines()
        .join("; ")
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: headers
            .iter()
            .map(|&(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect(),
        body: Secret::from(body.to_owned()),
    }
}

fn base() -> Url {
    Url::parse("https://lpm.example.com").expect("an address")
}

#[test]
fn https_and_plain_http_on_this_machine_are_accepted() {
    for address in [
        "https://lpm.dev",
        "https://lpm.dev/",
        "https://lpm.dev:8443/base",
        "http://localhost:8080",
        "http://127.0.0.1",
        "http://127.8.9.1:1",
        "http://[::1]:8080/",
        " https://lpm.dev ",
    ] {
        assert!(checked("LPM_REGISTRY_URL", address).is_ok(), "{address}");
    }
}

#[test]
fn plain_http_elsewhere_is_refused() {
    for address in [
        "http://lpm.dev",
        "http://10.0.0.1",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://[::2]",
        "http://0.0.0.0",
        "http://evil.com#localhost",
        "http://evil.com/?localhost",
        "HTTP://LPM.DEV",
        "http://[::ffff:10.0.0.1]",
    ] {
        assert!(refused(address).contains("plain http://"), "{address}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for address in ["", "lpm.dev", "https://", "ftp://lpm.dev", "file:///etc/passwd", "unix:/x", "http:"] {
        refused(address);
    }
    let said = refused("https://user:hush@lpm.dev");
    assert!(said.contains("a user or a password") && !said.contains("hush"), "{said}");
    refused("http://localhost@evil.com");
    for address in ["https://lpm.dev/?x=1", "https://lpm.dev/#x"] {
        assert!(Client::new(address, Duration::from_secs(1)).is_err(), "{address}");
    }
}

#[test]
fn segments_and_parameters_are_encoded() {
    let base = Url::parse("https://lpm.dev/base/").expect("an address");
    let url =
        url(&base, &["api", "vaults", "a/b?c#d %é", "sync"], &[("env", "x&y=z")]).expect("it can be made");
    assert_eq!(url.as_str(), "https://lpm.dev/base/api/vaults/a%2Fb%3Fc%23d%20%25%C3%A9/sync?env=x%26y%3Dz");
    let plain = super::url(&self::base(), &["api", "vaults"], &[]).expect("it can be made");
    assert_eq!(plain.as_str(), "https://lpm.example.com/api/vaults");
}

#[test]
fn a_segment_cannot_climb() {
    for id in ["..", ".", ""] {
        assert_eq!(
            url(&base(), &["api", "vaults", id, "sync"], &[]).err().map(|error| error.exit_code()),
            Some(2),
            "{id:?}"
        );
    }
    for id in ["../x", "..%2F", "%2e%2e"] {
        let url = url(&base(), &["api", "vaults", id, "sync"], &[]).expect("it can be made");
        assert_eq!(url.path_segments().map(Iterator::count), Some(4), "{url}");
    }
}

#[test]
fn the_audience_is_the_address_without_closing_slash() {
    for (address, expected) in [
        ("https://lpm.dev", "https://lpm.dev"),
        ("https://lpm.dev/", "https://lpm.dev"),
        (" http://127.0.0.1:8080/ ", "http://127.0.0.1:8080"),
        ("https://x/base//", "https://x/base"),
    ] {
        assert_eq!(audience(address), expected);
    }
}

#[test]
fn a_refusal_keeps_text_hint_code_and_id() {
    let body =
        r#"{"error":"the branch `x` is not allowed to pull","code":"branch_not_allowed","hint":"allow it"}"#;
    let error = answer(403, &[("x-request-id", "r1")], body).refusal(&base());
    assert_eq!(error.exit_code(), exit::DENIED);
    assert_eq!(error.lines(), ["the branch `x` is not allowed to pull", "hint: allow it", "request id: r1"]);
    assert_eq!(error.is_transient(), None);
}

#[test]
fn an_unknown_code_goes_by_its_status() {
    for (status, exit) in [(400, 2), (401, 3), (403, 3), (404, 1), (409, 1), (429, 4), (500, 4), (503, 4)] {
        for body in [r#"{"error":"no","code":"from_the_future"}"#, r#"{"error":"no"}"#, "<html>", ""] {
            assert_eq!(answer(status, &[], body).refusal(&base()).exit_code(), exit, "{status} {body}");
        }
    }
    // The table decides where it knows the code.
    let body = r#"{"error":"no","code":"payload_type"}"#;
    assert_eq!(answer(422, &[], body).refusal(&base()).exit_code(), Code::PayloadType.exit_code());
}

#[test]
fn a_servers_text_is_escaped() {
    let error = answer(403, &[], r#"{"error":"\u001b[2Jgone","hint":"a\nb"}"#).refusal(&base());
    assert_eq!(error.lines(), ["\\u{1b}[2Jgone", "hint: a\\u{a}b"]);
}

#[test]
fn redirects_are_errors_that_name_the_origin_only() {
    for status in [301, 302, 303, 307, 308] {
        let error = answer(status, &[("location", "https://evil.example/x?token=hush")], "").refusal(&base());
        let said = error.lines().join("; ");
        assert!(said.contains("redirects to `https://evil.example`") && !said.contains("hush"), "{said}");
    }
}

#[test]
fn an_answer_without_its_signature_is_not_used() {
    let token = Secret::from("lpm_test_token_abc123".to_owned());
    let body = r#"{"vaultId":"v1","version":3}"#;
    let good = "ldVu3vojQWNaIcbhLIy3iRC13cArq7tBYVMlUvvq/ko=";
    assert!(answer(200, &[("x-lpm-signature", good)], body).check_signature(&token).is_ok());
    assert!(answer(200, &[], body).check_signature(&token).is_err());
    assert!(answer(200, &[("x-lpm-signature", "")], body).check_signature(&token).is_err());
    assert!(answer(200, &[("x-lpm-signature", "bm9wZQ==")], body).check_signature(&token).is_err());
    assert!(answer(200, &[("x-lpm-signature", good)], "{}").check_signature(&token).is_err());
    let other = Secret::from("other".to_owned());
    assert!(answer(200, &[("x-lpm-signature", good)], body).check_signature(&other).is_err());
}

#[test]
fn only_what_is_safe_is_sent_again() {
    let unsent = Error::unavailable("x", Reached::Nothing);
    let lost = Error::unavailable("x", Reached::Unknown);
    let busy = answer(503, &[], "").refusal(&base());
    let denied = answer(403, &[], "").refusal(&base());
    let broken = answer(500, &[], "").refusal(&base());
    for (retry, again) in [
        (Retry::Repeatable, [true, true, true]),
        (Retry::Undone, [true, false, true]),
        (Retry::Unsent, [true, false, false]),
    ] {
        let waits = [&unsent, &lost, &busy].map(|error| wait(error, retry, 2).is_some());
        assert_eq!(waits, again, "{retry:?}");
        assert_eq!(wait(&denied, retry, 2), None);
        assert_eq!(wait(&broken, retry, 2), None);
        assert_eq!(wait(&unsent, retry, ATTEMPTS + 1), None, "attempts are counted");
    }
}

#[test]
fn a_decision_that_may_have_been_kept_is_not_taken_for_undone() {
    let body = format!(r#"{{"error":"no","code":"{}"}}"#, Code::AuditNotDurable.as_str());
    let error = answer(503, &[], &body).refusal(&base());
    assert_eq!(wait(&error, Retry::Undone, 2), None);
    assert!(wait(&error, Retry::Repeatable, 2).is_some());
}

#[test]
fn the_server_says_how_long_to_wait_within_reason() {
    let after = |seconds| answer(503, &[("retry-after", seconds)], "").refusal(&base());
    assert_eq!(wait(&after("2"), Retry::Repeatable, 2), Some(Duration::from_secs(2)));
    assert_eq!(wait(&after("60"), Retry::Repeatable, 2), None);
    assert_eq!(wait(&after("soon"), Retry::Repeatable, 2), Some(Duration::from_millis(250)));
}

#[test]
fn a_token_that_no_header_can_carry_is_refused_without_being_shown() {
    let error = bearer(&Secret::from("hu\nsh".to_owned())).expect_err("a header has one line");
    assert!(!error.to_string().contains("hu"));
    assert!(bearer(&Secret::from("lpm_pat_x".to_owned())).expect("fine").is_sensitive());
}
