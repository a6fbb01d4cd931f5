//! J19 to J22, with the parts of J16 and J33 that need no network: whose token it is.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::decision::*;
use crate::support::token::*;
use lpm_core::claims::{Claims, ClaimsError, Provider};
use lpm_core::token::{IssuerRules, TokenError, UnverifiedToken};
use serde_json::{Value, json};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const GHES: &str = "https://ghes.example.com/_services/token";

fn untrusted(issuer: &str) -> Option<TokenError> {
    Some(TokenError::UntrustedIssuer { issuer: issuer.to_owned() })
}

fn of_issuer(issuer: &str) -> IssuerRules {
    IssuerRules { issuer: issuer.to_owned(), ..github_rules() }
}

/// What a policy for this issuer, pinned to the push's ids, says to these claims.
fn against_policy_of(issuer: &str, payload: &Payload) -> &'static str {
    let policy = changed(github_policy(), one("issuer", issuer));
    let pinned = one("pin", json!({ "id": "456789", "owner_id": "123456" }));
    word(&decided(payload, policy, pinned, json!({})))
}

#[test]
fn j19_an_issuer_is_the_configured_one_byte_for_byte() {
    for (case, issuer) in [
        ("trailing slash", "https://token.actions.githubusercontent.com/"),
        ("two slashes", "https://token.actions.githubusercontent.com//"),
        ("a longer host", "https://token.actions.githubusercontent.com.evil.com"),
        ("a user part", "https://token.actions.githubusercontent.com@evil.com"),
        ("a user part before it", "https://evil.com@token.actions.githubusercontent.com"),
        ("a backslash", r"https://token.actions.githubusercontent.com\@evil.com"),
        ("a fragment", "https://token.actions.githubusercontent.com#evil"),
        ("a query", "https://token.actions.githubusercontent.com?evil"),
        ("an upper-case host", "https://TOKEN.actions.githubusercontent.com"),
        ("an upper-case scheme", "HTTPS://token.actions.githubusercontent.com"),
        ("http", "http://token.actions.githubusercontent.com"),
        ("no scheme", "token.actions.githubusercontent.com"),
        ("another enterprise's path", "https://token.actions.githubusercontent.com/other-enterprise"),
        ("a path that goes up", "https://token.actions.githubusercontent.com/x/.."),
        ("percent encoding", "https://token.actions%2Egithubusercontent.com"),
        ("IDN, Cyrillic е", "https://tok\u{435}n.actions.githubusercontent.com"),
        ("IDN, punycode of it", "https://xn--tokn-hpd.actions.githubusercontent.com"),
        ("IDN, an ideographic full stop", "https://token。actions.githubusercontent.com"),
        ("a trailing dot", "https://token.actions.githubusercontent.com."),
        ("a port", "https://token.actions.githubusercontent.com:443"),
        ("a prefix of it", "https://token.actions.githubusercontent"),
        ("a space behind", "https://token.actions.githubusercontent.com "),
        ("a tab within", "https://token.actions.\tgithubusercontent.com"),
        ("empty", ""),
    ] {
        let payload = github().with("iss", issuer);
        assert_eq!(refusal(&token_of(&payload).signed()), untrusted(issuer), "J19: {case}");
        // Before any key is looked up, so no such issuer learns what its keys are good for.
        assert_eq!(refusal(&token_of(&payload).signature([0])), untrusted(issuer), "J19: {case}, unsigned");
        if !issuer.is_empty() {
            assert_eq!(against_policy_of(GITHUB, &payload), "no_policy", "J19: {case}, in the decision");
        }
        // And the other way round: the configured one is no prefix or pattern either.
        let error = verify(&token().signed(), &of_issuer(issuer), &keys(), NOW).err();
        assert_eq!(error, untrusted(GITHUB), "J19: {case}, configured");
    }
    let escaped =
        String::from_utf8(github().bytes()).unwrap().replace("https://token", r"https:\/\/tok\u0065n");
    assert_eq!(refusal(&token().payload(escaped).signed()), None, "J19: JSON's escapes are no other bytes");
}

#[test]
fn j20_another_servers_ids_are_not_these_ids() {
    // A GitHub Enterprise Server numbers its repositories itself, so it has a 456789 as well.
    let there = github().with("iss", GHES);
    assert_eq!(refusal(&token_of(&there).signed()), untrusted(GHES), "J20: its token at github.com's row");
    verify(&token_of(&there).signed(), &of_issuer(GHES), &keys(), NOW).expect("J20: at its own row");
    for (case, policy, payload, expected) in [
        ("github.com's policy, its token", GITHUB, &there, "no_policy"),
        ("its policy, github.com's token", GHES, &github(), "no_policy"),
        ("its policy, its token", GHES, &there, "granted"),
        ("github.com's policy and token", GITHUB, &github(), "granted"),
    ] {
        assert_eq!(against_policy_of(policy, payload), expected, "J20: {case}");
    }
    // GitLab's issuer with GitHub's claims, and the other way round: the row says whose claims to expect.
    let missing = |claim| Some(TokenError::Claims(ClaimsError::Missing { claim }));
    let disguised = token_of(&gitlab().with("iss", GITHUB)).signed();
    assert_eq!(refusal(&disguised), missing("repository"), "J20: GitLab's claims from GitHub");
    let disguised = token_of(&github().with("iss", "https://gitlab.com")).signed();
    let error = verify(&disguised, &gitlab_rules(), &keys(), NOW).err();
    assert_eq!(error, missing("project_id"), "J20: GitHub's claims from GitLab");
    // A self-managed GitLab counts its projects from 1, too.
    let elsewhere = gitlab().with("iss", "https://gitlab.example.com");
    for subject in ["project:20", "project:my-group/my-project"] {
        let policy = changed(gitlab_policy(), one("subject", subject));
        let verdict = decided(&elsewhere, policy, one("pin", json!({ "id": "20" })), json!({}));
        assert_eq!(word(&verdict), "no_policy", "J20: {subject} of another GitLab");
    }
}

#[test]
fn j21_enterprises_that_share_keys_are_told_apart_by_their_issuer() {
    let enterprise = |name: &str| format!("{GITHUB}/{name}");
    let (ours, theirs) = (enterprise("acme"), enterprise("evil"));
    let of = |issuer: &str| github().with("iss", issuer).with("enterprise", "acme");
    for (case, issuer, row) in [
        ("enterprise A at enterprise B's row", theirs.as_str(), ours.as_str()),
        ("an enterprise at the public row", &theirs, GITHUB),
        ("the public issuer at an enterprise's row", GITHUB, &ours),
        ("a longer name", &format!("{ours}-evil"), &ours),
        ("a path below", &format!("{ours}/evil"), &ours),
        ("upper case", &enterprise("ACME"), &ours),
    ] {
        // One key set for all: only `iss` differs.
        let signed = token_of(&of(issuer)).signed();
        assert_eq!(verify(&signed, &of_issuer(row), &keys(), NOW).err(), untrusted(issuer), "J21: {case}");
        assert_eq!(
            verify(&signed, &of_issuer(issuer), &keys(), NOW).err(),
            None,
            "J21: {case}, at its own row"
        );
        assert_eq!(against_policy_of(row, &of(issuer)), "no_policy", "J21: {case}, in the decision");
    }
}

#[test]
fn j22_a_login_token_is_no_job_token() {
    let missing = |claim| ClaimsError::Missing { claim };
    let base = json!({
        "iss": "https://gitlab.com", "aud": "https://lpm.dev", "jti": "x", "iat": NOW, "exp": NOW + 120
    });
    let login = json!({
        "sub": "1", "auth_time": NOW, "nickname": "sample-user", "email_verified": true,
        "groups_direct": ["my-group"], "https://gitlab.org/claims/groups/owner": ["my-group"]
    });
    let oauth = json!({"sub": "user:1", "scope": "openid api", "client_id": "x", "token_type": "bearer"});
    let tries = [
        ("a login ID token", login.clone(), "project_id"),
        ("an OAuth JWT", oauth, "project_id"),
        ("a login that names a project", json!({"project_path": "my-group/my-project"}), "project_id"),
        ("with the id as well", json!({"project_path": "my-group/my-project", "project_id": "20"}), "job_id"),
        (
            "all but the pipeline",
            json!({"project_path": "my-group/my-project", "project_id": "20", "job_id": "302"}),
            "pipeline_id",
        ),
    ];
    for (case, claims, claim) in tries {
        let payload = changed(changed(base.clone(), login.clone()), claims).to_string();
        let signed = token().payload(&payload).signed();
        let error = verify(&signed, &gitlab_rules(), &keys(), NOW).err();
        assert_eq!(error, Some(TokenError::Claims(missing(claim))), "J22: {case}");
        assert_eq!(Claims::parse(Provider::GitLab, payload.as_bytes()), Err(missing(claim)), "J22: {case}");
    }
    for claim in ["project_id", "project_path", "job_id", "pipeline_id"] {
        assert_eq!(gitlab().without(claim).parse(), Err(missing(claim)), "J22: without {claim}");
        assert_eq!(gitlab().with(claim, Value::Null).parse(), Err(missing(claim)), "J22: {claim} null");
    }
    let header = json!({"typ": "at+jwt", "alg": "RS256", "kid": "key-1"}).to_string();
    let access_token = gitlab_token().header(header).signed();
    let error = verify(&access_token, &gitlab_rules(), &keys(), NOW).err();
    assert_eq!(error, Some(TokenError::NotAJwt), "J22: an access token by its type");
}

#[test]
fn j16_uses_are_counted_per_issuer() {
    let use_key = |issuer: &str, jti: &str| github().with("iss", issuer).with("jti", jti).claims().use_key();
    // Made with Python: sha256(b"\0\0\0\x02ab" + b"\0\0\0\x01c").
    let expected = "f2939f903016e5bb29b1e4a61cdbd376220ca03a24180b39995f2d50f2e0a647";
    assert_eq!(hex::encode(use_key("ab", "c")), expected, "J16");
    for (case, issuer, jti) in [
        ("another issuer copies the jti", "ac", "c"),
        ("the border between them moved", "a", "bc"),
        ("nothing of the issuer is left", "abc", "x"),
        ("upper case", "ab", "C"),
    ] {
        assert_ne!(use_key("ab", "c"), use_key(issuer, jti), "J16: {case}");
    }
}

#[test]
fn j33_an_unverified_issuer_is_text_for_a_lookup_and_nothing_else() {
    for issuer in
        ["http://169.254.169.254/latest", "http://[::1]:5432/", "file:///etc/passwd", "//evil.example"]
    {
        let signed = token_of(&github().with("iss", issuer)).signed_by(&STRANGER);
        let read = UnverifiedToken::read(&signed).expect("J33: its form is good");
        assert_eq!(read.unverified_issuer(), issuer, "J33: as the token spells it");
        assert_eq!(read.verify(&github_rules(), &keys(), NOW).err(), untrusted(issuer), "J33: {issuer}");
    }
}
