//! `lpm login` and what follows from it, through the real programs: the page, sessions, renewal, pairing.
//! The test plays the browser.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::{pairing, share};
use lpm_tests::binaries;
use lpm_tests::cli::{Machine, Outcome};
use lpm_tests::signin::{Session, SignIn, with_form};
use lpm_tests::stack::Stack;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::Private;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};

/// As if every access token of a session had ended.
const ACCESS_ENDS: &str = "update lpm.access_token set expires_at = clock_timestamp() - interval '1 second' where session_id is not null; select 1";
/// As if everything that was replaced had been replaced half a minute earlier.
const HALF_A_MINUTE_LATER: &str = "update lpm.session_refresh set replaced_at = replaced_at - interval '31 seconds' where replaced_at is not null; select 1";

/// `lpm login`, while it waits.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
    page: String,
}

impl Waiting {
    fn start(machine: &Machine) -> Result<Self> {
        let mut child = machine
            .command(binaries::path("lpm")?)
            .args(["login", "--no-browser"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().context("it is piped")?);
        let mut line = String::new();
        while !line.contains("/cli/login?") {
            line.clear();
            ensure!(stderr.read_line(&mut line)? > 0, "lpm names no page");
        }
        Ok(Self { child, stderr, page: line.trim().to_owned() })
    }

    /// Sends the page's form with this token, as the browser that shows it does.
    async fn submit(&self, token: &str) -> Result<reqwest::Response> {
        let browser = reqwest::Client::builder().redirect(Policy::none()).build()?;
        let page = browser.get(&self.page).send().await?;
        ensure!(page.status() == 200, "the page: {}", page.status());
        ensure!(page.text().await?.contains("<form method=\"post\""), "the page has a form");
        Ok(with_form(browser.post(&self.page).header("sec-fetch-site", "same-origin"), token).send().await?)
    }

    /// Signs in, and comes back to the command line.
    async fn sign_in(&self, token: &str) -> Result<()> {
        let answer = self.submit(token).await?;
        ensure!(answer.status() == 303, "the form: {} {}", answer.status(), answer.text().await?);
        let back = answer.headers()["location"].to_str()?.to_owned();
        ensure!(back.starts_with("http://127.0.0.1:"), "{back}");
        let last = reqwest::Client::builder().no_proxy().build()?.get(back).send().await?;
        ensure!(last.status() == 200, "the last page: {}", last.status());
        ensure!(last.text().await?.contains("You can close this window"), "the last page");
        Ok(())
    }

    fn ends(mut self) -> Result<Outcome> {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr)?;
        let output = self.child.wait_with_output()?;
        Ok(Outcome { stdout: String::from_utf8(output.stdout)?, stderr, code: output.status.code() })
    }
}

/// A machine without a token.
fn machine(stack: &Stack) -> Result<Machine> {
    Ok(Machine::new()?.with("LPM_REGISTRY_URL", stack.gateway.url()).with("HOSTNAME", "laptop"))
}

async fn sign_in(machine: &Machine, token: &str) -> Result<()> {
    let waiting = Waiting::start(machine)?;
    waiting.sign_in(token).await?;
    waiting.ends()?.ok()?;
    Ok(())
}

/// A machine that is signed in with this token's help.
async fn signed_in(stack: &Stack, token: &str) -> Result<Machine> {
    let machine = machine(stack)?;
    sign_in(&machine, token).await?;
    Ok(machine)
}

/// The file with the login.
fn login(machine: &Machine) -> Result<(std::path::PathBuf, Value)> {
    let directory = machine.home().join(".lpm/sessions");
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let value = serde_json::from_slice(&std::fs::read(&path)?)?;
            return Ok((path, value));
        }
    }
    anyhow::bail!("no login in {}", directory.display())
}

fn tokens(machine: &Machine) -> Result<(String, String)> {
    let (_, value) = login(machine)?;
    let text = |name: &str| value["tokens"][name].as_str().map(str::to_owned).context("a token");
    Ok((text("access")?, text("refresh")?))
}

fn said(outcome: &Outcome, text: &str) -> Result<()> {
    ensure!(outcome.stderr.contains(text), "it does not say `{text}`: {}", outcome.stderr);
    Ok(())
}

fn count(stack: &Stack, action: &str) -> Result<String> {
    stack.database().value(&format!("select count(*) from lpm.audit_log where action = '{action}'"))
}

#[tokio::test]
async fn a_person_signs_in_through_the_page_and_works() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = machine(&stack)?;
    machine.lpm(["env", "push"])?.exits_with(3)?;
    let waiting = Waiting::start(&machine)?;
    waiting.sign_in(&stack.seed.alice).await?;
    let outcome = waiting.ends()?.ok()?;
    said(&outcome, "as alice")?;
    let (access, refresh) = tokens(&machine)?;
    ensure!(access.starts_with("lpm_ses_") && refresh.starts_with("lpm_ref_"));
    ensure!(!outcome.stderr.contains(&access) && !outcome.stderr.contains(&stack.seed.alice));

    let who = machine.lpm(["whoami", "--json"])?.ok()?.json()?;
    assert_eq!((&who["username"], &who["session"]), (&json!("alice"), &json!(true)));
    said(&machine.lpm(["env", "set", "API_KEY=sk-live", "--env=production"])?.ok()?, "set API_KEY")?;
    machine.lpm(["env", "push"])?.ok()?;
    machine.lpm(["env", "pull"])?.ok()?;
    machine.lpm(["env", "oidc", "allow", "--repo=acme/web", "--env=production"])?.ok()?;
    let sessions = machine.lpm(["sessions"])?.ok()?.stdout;
    ensure!(sessions.contains("laptop  (this one)"), "{sessions}");
    assert_eq!(count(&stack, "session_begin")?, "1");
    Ok(())
}

#[tokio::test]
async fn a_mistyped_token_can_be_typed_again_and_others_sign_nobody_in() -> Result<()> {
    let stack = Stack::new().await?;
    let client = stack.database().connect().await?;
    let narrow: String =
        client.query_one("select lpm.create_token('alice', scope => 'none')", &[]).await?.get(0);
    let session = SignIn::default().session(&stack.gateway, &stack.seed.alice).await?;
    let cut = &stack.seed.alice[..stack.seed.alice.len() - 1];
    let machine = machine(&stack)?;
    let waiting = Waiting::start(&machine)?;
    for token in [cut, "", "hush", &narrow, &session.token, &session.refresh] {
        let answer = waiting.submit(token).await?;
        ensure!(answer.status() != 303, "it signed in");
        let page = answer.text().await?;
        ensure!(token.is_empty() || !page.contains(token), "the page repeats the token");
    }
    waiting.sign_in(&stack.seed.alice).await?;
    waiting.ends()?.ok()?;
    machine.lpm(["whoami"])?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_login_code_is_good_once_and_for_one_command_line() -> Result<()> {
    let stack = Stack::new().await?;
    let (first, second) = (machine(&stack)?, machine(&stack)?);
    let waiting = Waiting::start(&first)?;
    let answer = waiting.submit(&stack.seed.alice).await?;
    let back = answer.headers()["location"].to_str()?.to_owned();
    let code =
        back.split(['?', '&']).find_map(|pair| pair.strip_prefix("code=")).context("a code")?.to_owned();
    // Somebody who saw the code but not the state brings it to another command line.
    let other = Waiting::start(&second)?;
    let port = other.page.split(['?', '&']).find_map(|pair| pair.strip_prefix("port=")).context("a port")?;
    let browser = reqwest::Client::builder().no_proxy().build()?;
    let stranger =
        browser.get(format!("http://127.0.0.1:{port}/callback?code={code}&state={}", "0".repeat(32)));
    assert_eq!(stranger.send().await?.status(), 400);
    browser.get(&back).send().await?;
    waiting.ends()?.ok()?;
    // And a code that was used signs nobody in, with the right state either.
    let state =
        other.page.split(['?', '&']).find_map(|pair| pair.strip_prefix("state=")).context("a state")?;
    browser.get(format!("http://127.0.0.1:{port}/callback?code={code}&state={state}")).send().await?;
    said(&other.ends()?.exits_with(3)?, "the login code is unknown, used or expired")?;
    second.lpm(["whoami"])?.exits_with(3)?;
    Ok(())
}

#[tokio::test]
async fn tokens_that_end_are_renewed_and_nobody_notices() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = signed_in(&stack, &stack.seed.alice).await?;
    machine.lpm(["env", "set", "A=1"])?.ok()?;
    machine.lpm(["env", "push"])?.ok()?;
    let (first, _) = tokens(&machine)?;
    // The server's clock says so: a 401, a refresh, and the same request again.
    stack.database().value(ACCESS_ENDS)?;
    machine.lpm(["env", "pull"])?.ok()?;
    let (second, _) = tokens(&machine)?;
    ensure!(first != second);
    // This machine's clock says so.
    let (path, mut value) = login(&machine)?;
    value["expiresAt"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(&path, value.to_string())?;
    machine.lpm(["env", "pull"])?.ok()?;
    let (third, _) = tokens(&machine)?;
    ensure!(second != third);
    assert_eq!(count(&stack, "session_reused")?, "0");
    Ok(())
}

#[tokio::test]
async fn many_processes_at_once_renew_and_none_is_signed_out() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = signed_in(&stack, &stack.seed.alice).await?;
    stack.database().value(ACCESS_ENDS)?;
    let outcomes = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| machine.lpm(["whoami"]))).collect();
        runs.into_iter().map(|run| run.join().expect("it ends")).collect::<Result<Vec<_>>>()
    })?;
    for outcome in outcomes {
        outcome.ok()?;
    }
    assert_eq!(stack.database().value("select max(generation) from lpm.session_refresh")?, "2");
    machine.lpm(["whoami"])?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_session_ends_with_the_token_that_it_came_from() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.account("bob", "pro").await?;
    let machine = signed_in(&stack, &token).await?;
    stack.database().value("select lpm.revoke_tokens('bob')")?;
    let outcome = machine.lpm(["whoami"])?.exits_with(3)?;
    said(&outcome, "has ended, and was removed from this machine")?;
    said(&outcome, "hint: run `lpm login`")?;
    said(&machine.lpm(["whoami"])?.exits_with(3)?, "you are not signed in at")?;
    Ok(())
}

#[tokio::test]
async fn a_copied_home_ends_the_session_when_both_go_on_with_it() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = signed_in(&stack, &stack.seed.alice).await?;
    let thief = self::machine(&stack)?;
    let (path, _) = login(&machine)?;
    let copy = thief.home().join(".lpm/sessions");
    std::fs::create_dir_all(&copy)?;
    std::fs::copy(&path, copy.join(path.file_name().context("a name")?))?;
    stack.database().value(ACCESS_ENDS)?;
    machine.lpm(["whoami"])?.ok()?;
    stack.database().value(HALF_A_MINUTE_LATER)?;
    let outcome = thief.lpm(["whoami"])?.exits_with(3)?;
    said(&outcome, "an old refresh token of it was used again")?;
    let outcome = machine.lpm(["whoami"])?.exits_with(3)?;
    said(&outcome, "hint: run `lpm login`")?;
    assert_eq!(count(&stack, "session_reused")?, "1");
    ensure!(login(&machine).is_err() && login(&thief).is_err(), "both have forgotten it");
    sign_in(&machine, &stack.seed.alice).await?;
    machine.lpm(["whoami"])?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_logout_ends_this_session_and_no_other() -> Result<()> {
    let stack = Stack::new().await?;
    let (machine, other) =
        (signed_in(&stack, &stack.seed.alice).await?, signed_in(&stack, &stack.seed.alice).await?);
    let (access, refresh) = tokens(&machine)?;
    machine.lpm(["logout"])?.ok()?;
    said(&machine.lpm(["env", "push"])?.exits_with(3)?, "you are not signed in at")?;
    assert_eq!(stack.gateway.get("/api/vaults", Some(&access)).await?.status, 401);
    let session = Session { token: access, refresh, expires_at: String::new() };
    assert_eq!(session.refresh(&stack.gateway).await?.status, 401);
    other.lpm(["whoami"])?.ok()?;
    assert_eq!(stack.gateway.get("/api/vaults", Some(&stack.seed.alice)).await?.status, 200);
    // Without a gateway it is a warning, and this machine forgets all the same.
    let mut stack = stack;
    stack.gateway.terminate()?;
    said(&other.lpm(["logout"])?.ok()?, "warning: the session could not be ended on the server")?;
    ensure!(login(&other).is_err());
    Ok(())
}

#[tokio::test]
async fn one_machine_ends_the_session_of_another() -> Result<()> {
    let stack = Stack::new().await?;
    let (machine, lost) =
        (signed_in(&stack, &stack.seed.alice).await?, signed_in(&stack, &stack.seed.alice).await?);
    let bob = signed_in(&stack, &stack.account("bob", "pro").await?).await?;
    let list = machine.lpm(["sessions", "--json"])?.ok()?.json()?;
    let sessions = list["sessions"].as_array().context("a list")?;
    assert_eq!(sessions.len(), 2);
    let of = |current: bool| sessions.iter().find(|entry| entry["current"] == json!(current));
    let id = of(false).and_then(|entry| entry["id"].as_str()).context("the other one")?;
    said(&bob.lpm(["sessions", "end", id])?.exits_with(1)?, "no session")?;
    lost.lpm(["whoami"])?.ok()?;
    machine.lpm(["sessions", "end", id])?.ok()?;
    said(&lost.lpm(["whoami"])?.exits_with(3)?, "has ended, and was removed from this machine")?;
    machine.lpm(["whoami"])?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_new_login_takes_the_place_of_the_one_before() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = signed_in(&stack, &stack.seed.alice).await?;
    let (before, _) = tokens(&machine)?;
    sign_in(&machine, &stack.seed.alice).await?;
    assert_eq!(stack.gateway.get("/api/vaults", Some(&before)).await?.status, 401);
    let list = machine.lpm(["sessions", "--json"])?.ok()?.json()?;
    assert_eq!(list["sessions"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test]
async fn rotated_tokens_end_and_their_successors_go_where_they_came_from() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.account("bob", "pro").await?;
    let machine = machine(&stack)?;
    machine.lpm_with_input(["login", "--with-token"], &token)?.ok()?;
    machine.lpm(["token-rotate"])?.ok()?;
    assert_eq!(stack.gateway.get("/api/vaults", Some(&token)).await?.status, 401);
    machine.lpm(["whoami"])?.ok()?;

    let (_, value) = login(&machine)?;
    let second = value["tokens"]["access"].as_str().context("a token")?.to_owned();
    let given = self::machine(&stack)?.with("LPM_TOKEN", &second);
    let outcome = given.lpm(["token-rotate"])?.ok()?;
    let third = outcome.stdout.trim();
    ensure!(third.starts_with("lpm_pat_") && third != second && !outcome.stderr.contains(third));
    given.lpm(["whoami"])?.exits_with(3)?;
    self::machine(&stack)?.with("LPM_TOKEN", third).lpm(["whoami"])?.ok()?;
    // Whoever kept the second has nothing left.
    machine.lpm(["whoami"])?.exits_with(3)?;

    let session = signed_in(&stack, &stack.seed.alice).await?;
    let (access, _) = tokens(&session)?;
    session.lpm(["token-rotate"])?.ok()?;
    assert_eq!(stack.gateway.get("/api/vaults", Some(&access)).await?.status, 401);
    session.lpm(["whoami"])?.ok()?;
    stack.database().value(ACCESS_ENDS)?;
    session.lpm(["whoami"])?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_session_can_do_no_more_than_its_token() -> Result<()> {
    let stack = Stack::new().await?;
    let client = stack.database().connect().await?;
    let token: String =
        client.query_one("select lpm.create_token('alice', scope => 'read')", &[]).await?.get(0);
    let machine = signed_in(&stack, &token).await?;
    machine.lpm(["env", "set", "A=1"])?.ok()?;
    said(&machine.lpm(["env", "push"])?.exits_with(3)?, "this token may only read")?;
    machine.lpm(["logout"])?.ok()?;
    assert_eq!(count(&stack, "session_end")?, "1");
    Ok(())
}

// --- pairing ---

/// A browser: signed in, with a key of its own.
struct Browser {
    session: Session,
    private: EcKey<Private>,
    point: [u8; pairing::POINT],
}

impl Browser {
    async fn new(stack: &Stack, token: &str) -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let private = EcKey::generate(&group)?;
        let mut context = BigNumContext::new()?;
        let bytes = private.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)?;
        let point = bytes.try_into().ok().context("65 bytes")?;
        let session = SignIn::device("browser").session(&stack.gateway, token).await?;
        Ok(Self { session, private, point })
    }

    /// The code that it shows, and the number.
    async fn starts(&self, stack: &Stack) -> Result<(String, String)> {
        let body = json!({"browserPublicKey": STANDARD.encode(self.point), "deviceLabel": "Firefox"});
        let reply = stack.gateway.post("/api/vault/pair", Some(&self.session.token), &body).await?;
        ensure!(reply.status == 201, "start: {} {}", reply.status, reply.text());
        let code = reply.member("code");
        let number = pairing::check_number(&self.point, &code);
        Ok((code, number))
    }

    /// What it reads: the status, and the key where it gets one.
    async fn reads(&self, stack: &Stack, code: &str) -> Result<(String, Option<String>)> {
        let path = format!("/api/vault/pair/{code}/consume");
        let reply = stack.gateway.post(&path, Some(&self.session.token), &json!({})).await?;
        let body = reply.json();
        let key = match (body["encryptedWrappingKey"].as_str(), body["ephemeralPublicKey"].as_str()) {
            (Some(sealed), Some(key)) => {
                let key = STANDARD.decode(key)?;
                Some(hex::encode(share::open_in_browser(&key, &self.private, sealed)?.expose()))
            }
            _ => None,
        };
        Ok((body["status"].as_str().unwrap_or("?").to_owned(), key))
    }
}

fn pair(machine: &Machine, code: &str, number: &str) -> Result<Outcome> {
    machine.lpm(["env", "pair", code, &format!("--check={number}"), "--yes"])
}

/// A machine that is signed in and has a key.
async fn with_key(stack: &Stack, token: &str) -> Result<(Machine, String)> {
    let machine = signed_in(stack, token).await?;
    machine.lpm(["env", "set", "A=1"])?.ok()?;
    let key = std::fs::read_to_string(machine.home().join(".lpm/.vault-key"))?;
    Ok((machine, key))
}

#[tokio::test]
async fn a_browser_gets_the_machines_key_once() -> Result<()> {
    let stack = Stack::new().await?;
    let (machine, key) = with_key(&stack, &stack.seed.alice).await?;
    let browser = Browser::new(&stack, &stack.seed.alice).await?;
    let (code, number) = browser.starts(&stack).await?;
    let outcome = pair(&machine, &code.to_lowercase(), &number)?.ok()?;
    said(&outcome, "Firefox asks for this machine's vault key")?;
    assert_eq!(browser.reads(&stack, &code).await?, ("approved".to_owned(), Some(key)));
    assert_eq!(browser.reads(&stack, &code).await?.1, None);
    said(&pair(&machine, &code, &number)?.exits_with(1)?, "the pairing code has expired or was used")?;
    assert_eq!(
        (count(&stack, "pair_start")?, count(&stack, "pair_approve")?),
        ("1".to_owned(), "1".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn nobody_else_gets_a_key_or_gives_one() -> Result<()> {
    let stack = Stack::new().await?;
    let bobs = stack.account("bob", "pro").await?;
    let (machine, key) = with_key(&stack, &stack.seed.alice).await?;
    let (other_home, other_key) = with_key(&stack, &stack.seed.alice).await?;
    let (bob, _) = with_key(&stack, &bobs).await?;
    let browser = Browser::new(&stack, &stack.seed.alice).await?;
    let (code, number) = browser.starts(&stack).await?;
    ensure!(key != other_key);
    // Another account's machine, one with a personal access token only, a wrong number, a wrong code.
    said(&pair(&bob, &code, &number)?.exits_with(1)?, "the pairing code has expired or was used")?;
    let given = stack.machine(&stack.seed.alice)?;
    said(&pair(&given, &code, &number)?.exits_with(3)?, "this needs a login session")?;
    let wrong = if number == "000000" { "000001" } else { "000000" };
    said(&pair(&machine, &code, wrong)?.exits_with(3)?, "the browser shows another number")?;
    assert_eq!(browser.reads(&stack, &code).await?, ("pending".to_owned(), None));
    // Of two machines of the account the first one counts.
    pair(&other_home, &code, &number)?.ok()?;
    pair(&machine, &code, &number)?.exits_with(1)?;
    let stranger = Browser::new(&stack, &bobs).await?;
    assert_eq!(stranger.reads(&stack, &code).await?.1, None);
    assert_eq!(browser.reads(&stack, &code).await?, ("approved".to_owned(), Some(other_key)));
    Ok(())
}

#[tokio::test]
async fn unpair_and_a_revoking_logout_end_pairings_and_a_logout_does_not() -> Result<()> {
    for command in [&["env", "unpair"][..], &["logout", "--revoke"], &["logout"]] {
        let stack = Stack::new().await?;
        let (machine, key) = with_key(&stack, &stack.seed.alice).await?;
        let browser = Browser::new(&stack, &stack.seed.alice).await?;
        let (code, number) = browser.starts(&stack).await?;
        pair(&machine, &code, &number)?.ok()?;
        machine.lpm(command)?.ok()?;
        let expected = (command == ["logout"]).then_some(key);
        assert_eq!(browser.reads(&stack, &code).await?.1, expected, "{command:?}");
    }
    Ok(())
}
