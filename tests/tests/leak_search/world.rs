//! A server that logs everything it can, a gateway that does, and the secrets that are known so far.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::envelope::aead;
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::{Issuer, TokenRequest};
use lpm_tests::leaks::Markers;
use lpm_tests::process::stdout_of;
use lpm_tests::stack::Seed;
use reqwest::{Method, RequestBuilder};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Everything that a DBA could ever switch on, and nothing compressed: a marker would hide in that.
const EVERYTHING_LOGGED: [(&str, &str); 28] = [
    ("log_statement", "all"),
    ("log_min_duration_statement", "0"),
    ("log_duration", "on"),
    ("log_error_verbosity", "verbose"),
    ("log_min_messages", "debug5"),
    ("log_min_error_statement", "debug5"),
    ("log_parameter_max_length", "-1"),
    ("log_parameter_max_length_on_error", "-1"),
    ("log_temp_files", "0"),
    ("log_replication_commands", "on"),
    ("log_connections", "on"),
    ("log_line_prefix", "%m [%p] %u "),
    ("debug_print_parse", "on"),
    ("debug_print_rewritten", "on"),
    ("debug_print_plan", "on"),
    // on lines of their own, the bytes of a constant would be cut apart
    ("debug_pretty_print", "off"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_nested_statements", "on"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_verbose", "on"),
    ("auto_explain.log_triggers", "on"),
    ("pg_stat_statements.track", "all"),
    ("track_activity_query_size", "1MB"),
    ("work_mem", "64kB"),
    ("wal_level", "logical"),
    ("wal_compression", "off"),
    ("full_page_writes", "on"),
    // nothing is recycled, so the whole history is there to be searched
    ("wal_keep_size", "4GB"),
];

/// What is compressed by default is stored as it is.
const NOTHING_COMPRESSED: &str = "do $$
declare
    wide record;
begin
    for wide in select a.attrelid::regclass as relation, a.attname as name
                  from pg_attribute a join pg_class c on c.oid = a.attrelid
                 where c.relnamespace = 'lpm'::regnamespace and c.relkind = 'r' and a.attnum > 0 and a.attstorage in ('x', 'm')
    loop
        execute format('alter table %s alter column %I set storage external', wide.relation, wide.name);
    end loop;
end
$$";

/// Cluster, issuer, gateway and accounts, and what of them must not be found anywhere.
pub(crate) struct World {
    pub cluster: Cluster,
    pub issuer: Issuer,
    pub seed: Seed,
    pub gateway: Gateway,
    pub markers: Markers,
    /// What the commands printed that is not meant to be a secret.
    pub printed: String,
    /// The text of the escrow key file.
    pub escrow_keys: String,
    logs: TempDir,
}

impl World {
    /// With everything logged.
    pub(crate) async fn verbose() -> Result<Self> {
        let mut markers = Markers::default();
        let escrow_key = aead::random::<32>()?;
        key(&mut markers, "escrow key", &escrow_key);
        for info in ["aead", "x25519"] {
            let sub_key = aead::hkdf(&escrow_key, b"lpm-ci-escrow-v1", info.as_bytes())?;
            key(&mut markers, &format!("escrow sub-key {info}"), &sub_key[..]);
        }
        let escrow_keys = format!("dev:{}\n", hex::encode(escrow_key));
        let mut options = cluster::Options::default()
            .preload(&["pg_lpm", "auto_explain", "pg_stat_statements"])
            .escrow_keys(&escrow_keys);
        for (name, value) in EVERYTHING_LOGGED {
            options = options.setting(name, value);
        }
        if major()? >= 16 {
            options = options.setting("auto_explain.log_parameter_max_length", "-1");
        }
        let world = Self::of(options.start()?, escrow_keys, markers).await?;
        let client = world.seed.database.connect().await?;
        client.batch_execute(NOTHING_COMPRESSED).await?;
        client.batch_execute("create extension pg_stat_statements").await?;
        Ok(world)
    }

    /// With a server that logs as servers do.
    pub(crate) async fn quiet() -> Result<Self> {
        Self::of(cluster::Options::default().start()?, String::new(), Markers::default()).await
    }

    async fn of(cluster: Cluster, escrow_keys: String, mut markers: Markers) -> Result<Self> {
        let issuer = Issuer::start()?;
        let seed = Seed::create(&cluster, "leaks", issuer.url()).await?;
        markers.known("token of alice", seed.alice.as_bytes());
        let logs = tempfile::Builder::new().prefix("lpm-logs-").tempdir()?;
        let gateway = verbose_gateway(&seed, &logs.path().join("gateway-1.log"))?;
        Ok(Self { cluster, issuer, seed, gateway, markers, printed: String::new(), escrow_keys, logs })
    }

    /// Takes from the gateway's login whatever `lpm.create_gateway_login` has set for it, and starts a gateway anew.
    pub(crate) async fn forget_the_logins_settings(&mut self) -> Result<()> {
        let login = &self.seed.gateway_login.user;
        let superuser = self.seed.database.connect().await?;
        let before: i64 = superuser
            .query_one("select count(*) from pg_db_role_setting where setrole = $1::text::regrole", &[login])
            .await?
            .get(0);
        anyhow::ensure!(before > 0, "the login had settings of its own");
        superuser.batch_execute(&format!("alter role {login} reset all")).await?;
        self.gateway.terminate()?;
        self.gateway = verbose_gateway(&self.seed, &self.logs.path().join("gateway-2.log"))?;
        Ok(())
    }

    /// The directory with the gateways' logs.
    pub(crate) fn gateway_logs(&self) -> PathBuf {
        self.logs.path().to_owned()
    }

    /// A new token of an account, which is made if there is none.
    pub(crate) fn token(&mut self, handle: &str) -> Result<String> {
        let database = &self.seed.database;
        if database.value(&format!("select count(*) from lpm.account where handle = '{handle}'"))? == "0" {
            database.value(&format!("select lpm.create_user('{handle}', plan => 'pro')"))?;
        }
        let token = database.value(&format!("select lpm.create_token('{handle}')"))?;
        self.markers.known(format!("token of {handle}"), token.as_bytes());
        Ok(token)
    }

    /// A signed token, which nobody but its bearer and the gateway may ever see.
    pub(crate) fn mint(&mut self, name: &str, request: &TokenRequest) -> Result<String> {
        let token = self.issuer.mint(request)?;
        self.markers.known(format!("token {name}"), token.as_bytes());
        let (_, signature) = token.rsplit_once('.').context("a token has three parts")?;
        // of `none` there is no signature
        if !signature.is_empty() {
            self.markers.known(format!("signature of the token {name}"), URL_SAFE_NO_PAD.decode(signature)?);
        }
        Ok(token)
    }

    /// A new key, which nobody may see in any form.
    pub(crate) fn key(&mut self, name: &str) -> Result<[u8; 32]> {
        let bytes = aead::random()?;
        key(&mut self.markers, name, &bytes);
        Ok(bytes)
    }

    /// A request of this gateway that the caller finishes.
    pub(crate) fn request(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        // an open connection would rightly keep the buffers of its last request
        let request = self.gateway.request(method, path).header("connection", "close");
        let request = request.header("content-type", "application/json");
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Posts a body of any bytes.
    pub(crate) async fn post(
        &self,
        path: &str,
        token: Option<&str>,
        body: impl Into<Vec<u8>>,
    ) -> Result<Reply> {
        Reply::read(self.request(Method::POST, path, token).body(body.into()).send().await?).await
    }
}

fn verbose_gateway(seed: &Seed, log: &std::path::Path) -> Result<Gateway> {
    gateway::Options::new(seed.database.url_as(&seed.gateway_login))
        .argument("--log=trace")
        // a push of 10 MiB is several hundred in the server's log
        .argument("--statement-timeout=5m")
        .argument("--request-timeout=6m")
        .start(log)
}

/// A key, and its hexadecimal text, which is what files and requests hold.
fn key(markers: &mut Markers, name: &str, bytes: &[u8]) {
    markers.known(name, bytes);
    markers.known(format!("{name}, written"), hex::encode(bytes));
}

/// The number in front of PostgreSQL's version.
pub(crate) fn major() -> Result<u32> {
    let version = stdout_of(Command::new(cluster::pg_config()).arg("--version"))?;
    let digits: String =
        version.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
