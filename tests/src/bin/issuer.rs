//! `lpm-test-issuer`: an OIDC issuer for development and tests.

use clap::Parser;
use std::net::SocketAddr;

/// An OIDC issuer that behaves like GitHub's and GitLab's: for development and tests, never for production.
///
/// `POST /mint` with `{"provider": "github", "claims": {…}}` signs a token, `POST /rotate` makes a new key,
/// `GET /runtime?claims={…}&audience=…` is GitHub's runtime endpoint. GitLab's issuer is `<address>/gitlab`.
#[derive(Parser)]
#[command(name = "lpm-test-issuer", version)]
struct Args {
    /// Where to listen; port 0 takes a free one and says which
    #[arg(long, env = "LPM_ISSUER_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    lpm_tests::issuer::serve_forever(Args::parse().listen).await
}
