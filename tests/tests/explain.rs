//! "Why was this denied?", asked in SQL.

use anyhow::Result;
use lpm_tests::escrowed::Escrowed;

async fn ready() -> Result<(Escrowed, String)> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    Ok((escrowed, vault_id))
}

/// The rows of `lpm.explain` that are not ok, one per line.
fn failing(escrowed: &Escrowed, vault_id: &str, claims: &str, environment: &str) -> Result<String> {
    escrowed.database.value(&format!(
        r#"select string_agg(concat_ws(' | ', "check", expected, actual), E'\n')
             from lpm.explain(vault_id => '{vault_id}', claims => '{claims}', environment => '{environment}') where not ok"#
    ))
}

const GOOD: &str = r#""repository": "acme/web", "event_name": "push", "ref": "refs/heads/main""#;

#[tokio::test]
async fn a_grant_is_explained_with_every_check() -> Result<()> {
    let (escrowed, vault_id) = ready().await?;
    let claims = format!("{{{GOOD}}}");
    assert_eq!(failing(&escrowed, &vault_id, &claims, "production")?, "");
    let rows = escrowed.database.value(&format!(
        r#"select string_agg("check", ' ') from lpm.explain('{vault_id}', '{claims}', 'production')"#
    ))?;
    for check in ["subject", "event", "fork", "ref", "environment", "plan", "escrow", "pushed", "outcome"] {
        assert!(rows.split(' ').any(|row| row == check), "{check} in {rows}");
    }
    assert_eq!(
        escrowed.database.value("select count(*) from lpm.oidc_token_use")?,
        "0",
        "a dry run counts no use"
    );
    assert_eq!(escrowed.database.value("select count(*) from lpm.audit_log where action like 'ci_%'")?, "0");
    Ok(())
}

#[tokio::test]
async fn a_denial_shows_expected_and_actual() -> Result<()> {
    let (escrowed, vault_id) = ready().await?;
    let claims = r#"{"repository": "acme/web", "event_name": "push", "ref": "refs/heads/feature/x"}"#;
    let rows = failing(&escrowed, &vault_id, claims, "staging")?;
    assert!(rows.contains("ref |") && rows.contains("main") && rows.contains("feature/x"), "{rows}");
    assert!(
        rows.contains("environment |") && rows.contains("production") && rows.contains("staging"),
        "{rows}"
    );
    assert!(rows.ends_with("outcome | granted | the branch `feature/x` is not allowed to pull"), "{rows}");
    Ok(())
}

#[tokio::test]
async fn a_typo_in_a_claim_is_named() -> Result<()> {
    let (escrowed, vault_id) = ready().await?;
    for (claims, expected) in [
        (
            r#"{"repositry": "acme/web"}"#,
            "`claims` need at least `repository` (GitHub) or `project_path` (GitLab)",
        ),
        (r#"{"repository": "acme/web", "repository_id": 42}"#, "`repository_id`"),
        (
            r#"{"repository": "acme/web", "iss": "https://nobody.example"}"#,
            "the issuer `https://nobody.example` is not trusted here",
        ),
        (r#"{"repository": "acme/web""#, "the JSON of `claims` "),
        (r#"["acme/web"]"#, "`claims` must be a JSON object"),
        ("", "the JSON of `claims` "),
    ] {
        let rows = failing(&escrowed, &vault_id, claims, "production")?;
        assert!(rows.contains(expected), "{claims}: {rows}");
    }
    let unknown = format!(r#"{{{GOOD}, "brunch": "main"}}"#);
    let output = escrowed
        .database
        .psql(&format!("select * from lpm.explain('{vault_id}', '{unknown}', 'production')"))?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("no claim is called `brunch`"), "{output:?}");
    let elsewhere = failing(&escrowed, "no-such-vault", &format!("{{{GOOD}}}"), "production")?;
    assert_eq!(elsewhere, "outcome | granted | no OIDC policy of this vault allows repo:acme/web");
    Ok(())
}
