//! J26: payloads that are signed and still not text, or text that SQL could not take.

use crate::world::{Locked, World, granted, job, seen};
use anyhow::Result;
use lpm_tests::issuer::{Provider, TokenRequest};
use serde_json::json;

/// The payload of a good token with one member more, as bytes: `member` stands where the braces are closed.
fn payload_with(world: &World, member: &[u8]) -> Result<Vec<u8>> {
    let token = world.issuer.mint(&job())?;
    let mut payload = payload_of(&token)?;
    anyhow::ensure!(payload.pop() == Some(b'}'), "a payload is an object");
    payload.push(b',');
    payload.extend_from_slice(member);
    payload.push(b'}');
    Ok(payload)
}

fn payload_of(token: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap_or_default();
    Ok(base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload)?)
}

#[tokio::test]
async fn j26_a_signed_payload_that_is_no_strict_text_is_refused_and_never_reaches_sql() -> Result<()> {
    let world = World::new().await?;
    let whole = |member: &[u8]| payload_with(&world, member);
    let good = whole(br#""x":"y""#)?;
    let token = world.issuer.sign_bytes(Provider::GitHub, &good)?;
    assert_eq!(seen(&world.pull(&token).await?), granted(), "the same with a harmless member");
    let traces = world.traces()?;

    let with_mark = [b"\xef\xbb\xbf", good.as_slice()].concat();
    let utf16: Vec<u8> = String::from_utf8(good.clone())?.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a byte that UTF-8 never has", whole(b"\"x\":\"\xff\"")?),
        ("a byte without its lead", whole(b"\"x\":\"\x80\"")?),
        ("an overlong slash", whole(b"\"x\":\"\xc0\xaf\"")?),
        ("an overlong NUL", whole(b"\"x\":\"\xc0\x80\"")?),
        ("a surrogate in UTF-8", whole(b"\"x\":\"\xed\xa0\x80\"")?),
        ("a code point beyond Unicode", whole(b"\"x\":\"\xf4\x90\x80\x80\"")?),
        ("a cut character", whole(b"\"x\":\"\xe2\x82\"")?),
        ("invalid UTF-8 in a name", whole(b"\"\xff\":1")?),
        ("invalid UTF-8 in a claim that is read", whole(b"\"environment\":\"\xff\"")?),
        ("a lone high surrogate", whole(br#""x":"\ud800""#)?),
        ("a lone low surrogate", whole(br#""x":"\udc00""#)?),
        ("surrogates the wrong way round", whole(br#""x":"\udc00\ud800""#)?),
        ("a high surrogate and a letter", whole(br#""x":"\ud800A""#)?),
        ("a lone surrogate in a name", whole(br#""\ud800":1"#)?),
        ("a lone surrogate deep inside", whole(br#""x":[{"y":["\udfff"]}]"#)?),
        ("U+0000", whole(br#""x":"\u0000""#)?),
        ("U+0000 in a name", whole(br#""x\u0000":1"#)?),
        ("U+0000 in a claim that is read", whole(br#""environment":"production\u0000""#)?),
        ("U+0000 deep inside", whole(br#""x":{"y":["\u0000"]}"#)?),
        ("a raw NUL", whole(b"\"x\":\"\0\"")?),
        ("a raw line break in a string", whole(b"\"x\":\"a\nb\"")?),
        ("an unknown escape", whole(br#""x":"\x41""#)?),
        ("a name of a claim with U+0000", whole(br#""iss\u0000":"x""#)?),
        ("a byte order mark", with_mark),
        ("UTF-16", utf16),
        ("something behind the end", [good.as_slice(), b" {}"].concat()),
        ("the end missing", good[..good.len() - 1].to_vec()),
        ("nothing", Vec::new()),
    ];
    let locked = Locked::new(world.stack.database()).await?;
    for (name, payload) in &cases {
        let token = world.issuer.sign_bytes(Provider::GitHub, payload)?;
        world.refuses(&format!("J26 {name}"), &token, 401, "token_malformed").await?;
    }
    locked.release().await?;
    assert_eq!(world.traces()?, traces, "step 1 is neither audited nor counted");
    assert_eq!(seen(&world.pull_by(&job()).await?), granted(), "and nothing has crashed");
    Ok(())
}

#[tokio::test]
async fn j26_strange_but_legal_text_is_decided_and_audited_without_its_control_characters() -> Result<()> {
    let world = World::new().await?;
    for (name, branch, shown) in [
        ("an escape sequence", "a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
        ("line breaks", "a\r\nb", r"a\u{d}\u{a}b"),
        ("the other direction", "a\u{202e}b", r"a\u{202e}b"),
        ("a line separator", "a\u{2028}b", r"a\u{2028}b"),
        ("DEL", "a\u{7f}b", r"a\u{7f}b"),
        ("a surrogate pair", "a\u{1f511}b", "a\u{1f511}b"),
        ("a noncharacter", "a\u{ffff}b", "a\u{ffff}b"),
        ("SQL", "a'; drop table lpm.audit_log; --", "a'; drop table lpm.audit_log; --"),
        ("a quote and a backslash", "a\"\\b", "a\"\\b"),
    ] {
        let reply = world.pull_by(&job().branch(branch).claim("actor", branch)).await?;
        assert_eq!(seen(&reply), (403, "branch_not_allowed".to_owned()), "J26 {name}: {}", reply.text());
        assert!(reply.member("error").contains(shown), "J26 {name}: {}", reply.text());
        assert!(!reply.member("error").chars().any(char::is_control), "J26 {name}: {}", reply.text());
        let id: uuid::Uuid = reply.header("x-request-id").parse()?;
        let client = world.stack.database().connect().await?;
        let row = client
            .query_one(
                "select branch, actor, decision, reason from lpm.audit_log where request_id = $1",
                &[&id],
            )
            .await?;
        let row: [String; 4] = [row.get(0), row.get(1), row.get(2), row.get(3)];
        assert_eq!(row, [shown, shown, "denied", "branch_not_allowed"].map(str::to_owned), "J26 {name}");
    }
    // long texts are cut for the audit, at a character's end
    let reply = world.pull_by(&job().branch(&"\u{20ac}".repeat(150))).await?;
    assert_eq!(seen(&reply), (403, "branch_not_allowed".to_owned()), "J26: {}", reply.text());
    let row = format!("where request_id = '{}'", reply.header("x-request-id"));
    let bytes = world
        .stack
        .database()
        .value(&format!("select octet_length(branch) <= 256 from lpm.audit_log {row}"))?;
    assert_eq!(bytes, "t", "J26 a branch of 450 bytes");
    let gitlab = TokenRequest::gitlab()
        .claim("user_login", "\u{1b}]0;x\u{7}")
        .claim("job_config", json!({"url": "\u{1b}"}));
    assert_eq!(seen(&world.pull_by(&gitlab).await?), granted(), "J26: such a name is no reason to refuse");
    let actor = world.stack.database().value("select actor from lpm.audit_log where provider = 'gitlab'")?;
    assert_eq!(actor, r"\u{1b}]0;x\u{7}");
    Ok(())
}
