//! Issuers behind a proxy that the environment names: the proxy resolves and connects, TLS ends at the issuer, and
//! whatever is excepted goes no other way than before.

use anyhow::{Context, Result};
use lpm_tests::authority::Authority;
use lpm_tests::binaries;
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::{Issuer, Provider, TokenRequest};
use lpm_tests::proxy::{Proxy, TlsFront};
use lpm_tests::stack::Stack;
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// An issuer whose name nothing but the proxy knows.
const ISSUER: &str = "https://issuer.example";
const PULL: &str = "/api/vault/oidc/pull";

/// An issuer behind TLS, and a vault that its jobs may pull.
struct World {
    stack: Stack,
    issuer: Issuer,
    front: TlsFront,
    ca: PathBuf,
    vault_id: String,
    files: TempDir,
}

impl World {
    /// The issuer's certificate carries this name.
    async fn new(certified: &str) -> Result<Self> {
        let (stack, issuer) = (Stack::new().await?, Issuer::start()?);
        let authority = Authority::new()?;
        let backend = issuer.url().trim_start_matches("http://").parse()?;
        let front = TlsFront::start(&authority.issue(&[certified])?, backend).await?;
        stack.database().value(&format!(
            "select lpm.trust_issuer('github', '{ISSUER}', jwks_uri => '{ISSUER}/.well-known/jwks')"
        ))?;
        let alice = stack.escrowed(&stack.seed.alice);
        let client = alice.gateway().await?;
        let vault_id = alice.vault(&client).await?;
        alice.allow_with(&client, &vault_id, &json!({ "issuer": ISSUER })).await?;
        let files = tempfile::tempdir()?;
        let ca = authority.write(files.path(), "ca")?;
        Ok(Self { stack, issuer, front, ca, vault_id, files })
    }

    async fn proxy(&self, credentials: Option<&str>) -> Result<Proxy> {
        let names = HashMap::from([("issuer.example:443".to_owned(), self.front.address())]);
        Proxy::start(names, credentials).await
    }

    /// A gateway that trusts the authority, with these variables.
    fn gateway(&self, variables: &[(&str, &str)]) -> Result<Gateway> {
        let url = self.stack.database().url_as(&self.stack.seed.gateway_login);
        let options = gateway::Options::new(url).variable("SSL_CERT_FILE", self.ca.display().to_string());
        variables
            .iter()
            .fold(options, |options, (name, value)| options.variable(name, *value))
            .start(&self.files.path().join("gateway.log"))
    }

    /// A pull of a job of this issuer.
    async fn pull(&self, gateway: &Gateway) -> Result<Reply> {
        let job = TokenRequest::github().repository("acme/web").claim("iss", ISSUER);
        self.ask(gateway, self.issuer.mint(&job)?).await
    }

    async fn ask(&self, gateway: &Gateway, token: String) -> Result<Reply> {
        let ask = json!({"oidcToken": token, "vaultId": self.vault_id, "env": "production"});
        gateway.post(PULL, None, &ask).await
    }

    async fn granted(&self, gateway: &Gateway) -> Result<()> {
        let reply = self.pull(gateway).await?;
        assert_eq!(reply.status.as_u16(), 200, "{}\n{}", reply.text(), gateway.log());
        Ok(())
    }

    /// The keys cannot be had, and the log says why.
    async fn unavailable(&self, gateway: &Gateway, reason: &str) -> Result<()> {
        let reply = self.pull(gateway).await?;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "issuer_unavailable"), "{reason}");
        let log = gateway.log();
        assert!(log.contains(reason), "`{reason}` is not in\n{log}");
        Ok(())
    }
}

fn at(proxy: &Proxy) -> String {
    format!("http://{}", proxy.address())
}

#[tokio::test]
async fn keys_are_fetched_through_the_proxy_which_alone_knows_the_issuers_name() -> Result<()> {
    let world = World::new("issuer.example").await?;
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let proxy = world.proxy(None).await?;
        let gateway = world.gateway(&[(variable, &at(&proxy))])?;
        world.granted(&gateway).await.context(variable)?;
        assert_eq!(
            proxy.asked(),
            ["CONNECT issuer.example:443 HTTP/1.1"],
            "{variable}: one fetch, and nothing else"
        );
    }
    Ok(())
}

#[tokio::test]
async fn without_the_proxy_or_excepted_from_it_the_name_leads_nowhere() -> Result<()> {
    let world = World::new("issuer.example").await?;
    let proxy = world.proxy(None).await?;
    for variables in [
        vec![],
        vec![("HTTPS_PROXY", at(&proxy)), ("NO_PROXY", "issuer.example".to_owned())],
        vec![("HTTPS_PROXY", at(&proxy)), ("no_proxy", "*".to_owned())],
        // a proxy for plain http is none for https
        vec![("HTTP_PROXY", at(&proxy))],
    ] {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let gateway = world.gateway(&variables)?;
        world.unavailable(&gateway, "An issuer's keys could not be fetched").await?;
        assert!(!gateway.log().contains("through the proxy"), "{variables:?}");
    }
    assert_eq!(proxy.asked(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn tls_ends_at_the_issuer_and_the_proxy_can_put_nobody_in_its_place() -> Result<()> {
    let world = World::new("other.example").await?;
    let proxy = world.proxy(None).await?;
    let gateway = world.gateway(&[("HTTPS_PROXY", &at(&proxy))])?;
    world.unavailable(&gateway, "certificate verify failed").await?;
    let strange = World::new("issuer.example").await?;
    let proxy = strange.proxy(None).await?;
    let nobody = Authority::new()?.write(strange.files.path(), "nobody")?;
    let gateway =
        strange.gateway(&[("HTTPS_PROXY", &at(&proxy)), ("SSL_CERT_FILE", &nobody.display().to_string())])?;
    strange.unavailable(&gateway, "certificate verify failed").await
}

#[tokio::test]
async fn a_proxys_password_is_sent_to_it_and_written_down_nowhere() -> Result<()> {
    let world = World::new("issuer.example").await?;
    // user:hunter2
    let proxy = world.proxy(Some("Basic dXNlcjpodW50ZXIy")).await?;
    let right = format!("http://user:hunter2@{}", proxy.address());
    let gateway = world.gateway(&[("HTTPS_PROXY", &right)])?;
    world.granted(&gateway).await?;
    let wrong = format!("http://user:hunter3@{}", proxy.address());
    let refused = world.gateway(&[("HTTPS_PROXY", &wrong)])?;
    world.unavailable(&refused, &format!("through the proxy http://{}", proxy.address())).await?;
    for log in [gateway.log(), refused.log()] {
        assert!(!log.contains("hunter"), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn plain_http_on_this_machine_goes_through_no_proxy() -> Result<()> {
    let world = World::new("issuer.example").await?;
    let proxy = world.proxy(None).await?;
    let gateway = world.gateway(&[
        ("HTTPS_PROXY", &at(&proxy)),
        ("ALL_PROXY", &at(&proxy)),
        ("HTTP_PROXY", &at(&proxy)),
    ])?;
    let token = world.stack.issuer.mint(&TokenRequest::github().repository("acme/web"))?;
    let reply = world.ask(&gateway, token).await?;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    assert_eq!(proxy.asked(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn uploaded_keys_need_neither_proxy_nor_network() -> Result<()> {
    let world = World::new("issuer.example").await?;
    let keys = world.issuer.jwks(Provider::GitHub);
    world
        .stack
        .database()
        .value(&format!("select lpm.trust_issuer('github', '{ISSUER}', jwks => '{keys}')"))?;
    let proxy = world.proxy(None).await?;
    let gateway = world.gateway(&[("HTTPS_PROXY", &at(&proxy))])?;
    world.granted(&gateway).await?;
    assert_eq!(proxy.asked(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_variable_that_names_no_proxy_is_a_start_up_error() -> Result<()> {
    for value in ["socks5://user:hunter2@proxy.example:1080", "http://", "not a proxy"] {
        let output = Command::new(binaries::path("lpm-gateway")?)
            .env_clear()
            .env("LPM_GATEWAY_DATABASE_URL", "postgresql://gateway@%2Fno%2Fsuch/lpm")
            .env("LPM_GATEWAY_LISTEN", "127.0.0.1:0")
            .env("HTTPS_PROXY", value)
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("lpm-gateway: HTTPS_PROXY is not the URL of a proxy"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    Ok(())
}
