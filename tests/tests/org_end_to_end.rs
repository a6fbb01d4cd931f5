//! Developers of one org with our command line, in homes of their own, against the real gateway: who reads what
//! is shared, who does not any more, and what CI gets of it.

use anyhow::Result;
use lpm_tests::cli::{Machine, Outcome};
use lpm_tests::issuer::TokenRequest;
use lpm_tests::stack::{ORG, Stack};

/// What a share that leaves CI out is answered with, word for word as it is promised.
const LEFT_OUT: &str = r#"the last share left CI out; run "lpm env share --org acme" with this lpm"#;

fn job() -> TokenRequest {
    TokenRequest::github().repository("acme/web")
}

fn run(machine: &Machine, command: &str) -> Result<Outcome> {
    machine.lpm(command.split_whitespace())
}

/// It succeeds.
fn ok(machine: &Machine, command: &str) -> Result<Outcome> {
    run(machine, command)?.ok()
}

/// It is refused with this code and text, and prints nothing.
fn refused(machine: &Machine, command: &str, code: i32, text: &str) -> Result<()> {
    let outcome = run(machine, command)?.exits_with(code)?;
    assert!(outcome.stderr.contains(text) && outcome.stdout.is_empty(), "{command}: {outcome:?}");
    Ok(())
}

fn value(machine: &Machine, name: &str) -> Result<String> {
    Ok(ok(machine, &format!("env get {name} --env=production"))?.stdout)
}

/// `alice`, admin of the org, with a vault that nobody has yet.
fn alice(stack: &Stack) -> Result<Machine> {
    let machine = stack.machine(&stack.seed.alice)?;
    ok(&machine, "env set API_KEY=sk-1 --env=production")?;
    Ok(machine)
}

/// A new member, invited by `alice`, in a checkout of her project.
async fn member(stack: &Stack, alice: &Machine, handle: &str) -> Result<Machine> {
    // The org pays: its members need no plan of their own.
    let token = stack.account(handle, "free").await?;
    let machine = stack.machine(&token)?;
    machine.write("lpm.json", &alice.read("lpm.json")?)?;
    ok(alice, &format!("org invite {ORG} {handle}"))?;
    ok(&machine, &format!("org accept {ORG}"))?;
    Ok(machine)
}

/// The same, with a registered key, so that the next share is for them.
async fn keyed(stack: &Stack, alice: &Machine, handle: &str) -> Result<Machine> {
    let machine = member(stack, alice, handle).await?;
    run(&machine, "env pull --org=acme")?;
    Ok(machine)
}

fn ci_pull(stack: &Stack, machine: &Machine) -> Result<Outcome> {
    stack.job(machine, &job())?.lpm(["env", "pull", "--oidc", "--env=production", "--output=-"])
}

/// A job of the project gets this value.
fn assert_ci_gets(stack: &Stack, machine: &Machine, value: &str) -> Result<()> {
    let outcome = ci_pull(stack, machine)?.ok()?;
    assert!(outcome.stdout.contains(&format!("API_KEY='{value}'")), "{}", outcome.stdout);
    Ok(())
}

#[tokio::test]
async fn a_share_is_read_by_its_members_and_by_nobody_who_has_left() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = alice(&stack)?;
    ok(&alice, "env share --org=acme --yes")?;

    let bob = member(&stack, &alice, "bob").await?;
    refused(&bob, "env pull --org=acme", 3, "version 1 of the vault was not shared with you")?;
    refused(&alice, "env share --org=acme", 2, "this is asked about first")?;
    ok(&alice, "env share --org=acme --yes")?;
    ok(&bob, "env pull --org=acme")?;
    assert_eq!(value(&bob, "API_KEY")?, "sk-1\n");

    let carol = keyed(&stack, &alice, "carol").await?;
    ok(&alice, "env share --org=acme --yes")?;
    ok(&carol, "env pull --org=acme")?;

    // Whoever leaves loses the vault at once, also the copies that were wrapped for them before.
    ok(&alice, "org remove acme bob --yes")?;
    for command in [
        "env pull --org=acme",
        "env share --org=acme --yes --force",
        "env restore 2 --org=acme --yes",
        "env log --org=acme",
    ] {
        refused(&bob, command, 1, "no org `acme` of yours")?;
    }
    // What they know is changed and shared under a key that they never had.
    ok(&alice, "env set API_KEY=sk-2 --env=production")?;
    ok(&alice, "env share --org=acme")?;
    refused(&bob, "env pull --org=acme", 1, "no org `acme` of yours")?;
    assert_eq!(value(&bob, "API_KEY")?, "sk-1\n");
    ok(&carol, "env pull --org=acme")?;
    assert_eq!(value(&carol, "API_KEY")?, "sk-2\n");

    // Back as a member, they read nothing before somebody shares with them again.
    ok(&alice, "org invite acme bob")?;
    ok(&bob, "org accept acme")?;
    refused(&bob, "env pull --org=acme", 3, "was not shared with you")?;
    let outcome = run(&alice, "env share --org=acme")?.exits_with(2)?;
    assert!(outcome.stderr.contains("new: bob (developer)"), "shown again: {}", outcome.stderr);
    Ok(())
}

#[tokio::test]
async fn a_rotated_vault_key_leaves_the_orgs_vault_and_ones_own_readable() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = alice(&stack)?;
    ok(&alice, "env push")?;
    ok(&alice, "env oidc allow --repo=acme/web --env=production")?;
    let carol = keyed(&stack, &alice, "carol").await?;
    ok(&alice, "env share --org=acme --yes")?;
    let before = std::fs::read(alice.home().join(".lpm/.vault-key"))?;
    ok(&alice, "env rotate-key --yes")?;
    assert_ne!(std::fs::read(alice.home().join(".lpm/.vault-key"))?, before);
    assert_eq!(value(&alice, "API_KEY")?, "sk-1\n");
    ok(&alice, "env pull")?;
    ok(&alice, "env pull --org=acme")?;
    ok(&carol, "env pull --org=acme")?;
    assert_ci_gets(&stack, &alice, "sk-1")?;
    ok(&alice, "env set API_KEY=sk-2 --env=production")?;
    ok(&alice, "env push")?;
    assert_ci_gets(&stack, &alice, "sk-2")
}

#[tokio::test]
async fn a_share_that_leaves_ci_out_is_answered_with_what_to_run() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = alice(&stack)?;
    // A colleague whose checkout is older than `allow`: its lpm.json does not say that the vault is open to CI.
    let carol = keyed(&stack, &alice, "carol").await?;
    ok(&alice, "env share --org=acme --yes")?;
    ok(&alice, "env oidc allow --org=acme --repo=acme/web --env=production")?;
    assert_ci_gets(&stack, &alice, "sk-1")?;

    ok(&carol, "env pull --org=acme")?;
    ok(&carol, "env set API_KEY=sk-2 --env=production")?;
    let outcome = ok(&carol, "env share --org=acme --yes")?;
    assert!(outcome.stderr.contains("this version leaves CI out"), "{}", outcome.stderr);
    let outcome = ci_pull(&stack, &alice)?.exits_with(1)?;
    assert!(outcome.stderr.contains(LEFT_OUT) && outcome.stdout.is_empty(), "{outcome:?}");

    refused(&alice, "env share --org=acme", 1, "`lpm env pull --org acme`, then `lpm env share --org acme`")?;
    ok(&alice, "env pull --org=acme")?;
    ok(&alice, "env share --org=acme")?;
    assert_ci_gets(&stack, &alice, "sk-2")?;

    // With the committed lpm.json, the colleague's shares bring it too.
    carol.write("lpm.json", &alice.read("lpm.json")?)?;
    ok(&carol, "env pull --org=acme")?;
    ok(&carol, "env set API_KEY=sk-3 --env=production")?;
    ok(&carol, "env share --org=acme")?;
    assert_ci_gets(&stack, &alice, "sk-3")
}

#[tokio::test]
async fn a_personal_pipeline_goes_on_when_its_vault_is_shared() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = alice(&stack)?;
    ok(&alice, "env push")?;
    ok(&alice, "env oidc allow --repo=acme/web --env=production")?;
    assert_ci_gets(&stack, &alice, "sk-1")?;
    ok(&alice, "env share --org=acme --yes")?;
    assert_ci_gets(&stack, &alice, "sk-1")?;
    // The two are different copies: what is shared only is not what the pipeline reads.
    ok(&alice, "env set API_KEY=sk-2 --env=production")?;
    ok(&alice, "env share --org=acme")?;
    assert_ci_gets(&stack, &alice, "sk-1")?;
    ok(&alice, "env push")?;
    assert_ci_gets(&stack, &alice, "sk-2")
}

#[tokio::test]
async fn a_restored_version_is_pulled_and_a_foreign_one_is_not_listed() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = alice(&stack)?;
    ok(&alice, "env push")?;
    ok(&alice, "env set API_KEY=sk-2 --env=production")?;
    ok(&alice, "env push")?;
    ok(&alice, "env restore 1 --yes")?;
    refused(&alice, "env push", 1, "the server has version 3 of this vault")?;
    ok(&alice, "env pull")?;
    assert_eq!(value(&alice, "API_KEY")?, "sk-1\n");
    let bob = stack.machine(&stack.account("bob", "pro").await?)?;
    bob.write("lpm.json", &alice.read("lpm.json")?)?;
    refused(&bob, "env restore", 1, "no vault")?;
    refused(&bob, "env diff", 1, "no vault")?;
    assert_eq!(ok(&bob, "env list-remote")?.stdout, "");
    Ok(())
}
