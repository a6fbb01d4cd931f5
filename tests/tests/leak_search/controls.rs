//! Texts that are planted where a secret could be left: a search that does not find them finds nothing.

use crate::client::{Vault, job};
use crate::places::{
    ACTIVITY, DATA, GATEWAY_LOG, LOGGED_CONTEXT, LOGGED_PARAMETERS, PRINTED, SERVER_LOG, TABLES, TEMPORARY,
};
use crate::world::{World, major};
use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_tests::cli::Machine;
use lpm_tests::leaks::{Form, Search};
use tokio_postgres::Client;

/// What has to be found where, and the connections that keep it there.
pub(crate) struct Planted {
    expected: Vec<(String, String, Form)>,
    _open: Vec<Client>,
}

impl Planted {
    /// Plants everything.
    pub(crate) async fn plant(world: &mut World) -> Result<Self> {
        let mut planted = Self { expected: Vec::new(), _open: Vec::new() };
        planted.table(world).await?;
        planted.statements(world).await?;
        planted.spilled(world).await?;
        planted.gateway(world).await?;
        planted.command(world)?;
        Ok(planted)
    }

    fn expect(&mut self, place: impl Into<String>, marker: &str, form: Form) {
        self.expected.push((place.into(), marker.to_owned(), form));
    }

    /// Whether the search found everything.
    pub(crate) fn check(&self, search: &Search) -> Result<()> {
        let missing = self.expected.iter().filter(|(place, marker, form)| !search.has(place, marker, *form));
        let missing: Vec<String> =
            missing.map(|(place, marker, form)| format!("{marker} as {form:?} in {place}")).collect();
        ensure!(missing.is_empty(), "planted and not found:\n{}", missing.join("\n"));
        Ok(())
    }

    /// A row, a wide value beside it, and the log of the parameters and plans that brought them there.
    async fn table(&mut self, world: &mut World) -> Result<()> {
        let client = world.seed.database.connect().await?;
        client.batch_execute("create table public.planted (t text); alter table public.planted alter column t set storage external").await?;
        let row = client
            .query_one(
                "select pg_relation_filepath(c.oid), pg_relation_filepath(c.reltoastrelid) from pg_class c where c.relname = 'planted'",
                &[],
            )
            .await?;
        let (heap, toast): (String, String) = (row.get(0), row.get(1));
        for (name, path, repeat) in [("in a row", heap, 1), ("in a wide value", toast, 5_000)] {
            let text = world.markers.control(name);
            let forms = [
                (Form::Plain, text.clone()),
                (Form::Hex, hex::encode(&text)),
                (Form::UpperHex, hex::encode_upper(&text)),
                (Form::Base64, STANDARD.encode(&text)),
            ];
            for (form, written) in forms {
                client.execute("insert into public.planted values ($1)", &[&written.repeat(repeat)]).await?;
                self.expect(format!("{DATA}/{path}"), name, form);
                self.expect(format!("{DATA}/pg_wal"), name, form);
                self.expect(format!("{TABLES}/public.planted"), name, form);
                self.expect(SERVER_LOG, name, form);
            }
            self.expect(SERVER_LOG, name, Form::Decimal);
        }
        Ok(())
    }

    async fn statements(&mut self, world: &mut World) -> Result<()> {
        let client = world.seed.database.connect().await?;
        let text = world.markers.control("in a record of the WAL");
        client.execute("select pg_logical_emit_message(false, 'planted', $1)", &[&text]).await?;
        self.expect(format!("{DATA}/pg_wal"), "in a record of the WAL", Form::Plain);

        // nothing but the context of the error shows the text as it is
        let text = world.markers.control("in the context of an error");
        let cast = format!("select convert_from(decode('{}', 'hex'), 'UTF8')::json", hex::encode(&text));
        ensure!(client.batch_execute(&cast).await.is_err(), "no JSON");
        self.expect(LOGGED_CONTEXT, "in the context of an error", Form::Plain);

        // constants are taken out of statements before they are counted, names are not
        let text = world.markers.control("in the name of a column");
        client.batch_execute(&format!(r#"select 1 as "{text}""#)).await?;
        self.expect(format!("{TABLES}/public.pg_stat_statements"), "in the name of a column", Form::Plain);
        self.expect(format!("{DATA}/pg_stat"), "in the name of a column", Form::Plain);

        if major()? >= 16 {
            let text = world.markers.control("in a parameter of a nested statement");
            client
                .batch_execute(&format!(
                    "create function public.nested(text) returns bigint language sql volatile as 'select count(*) from pg_class where relname = $1';
                     select public.nested(convert_from(decode('{}', 'hex'), 'UTF8'))",
                    hex::encode(&text)
                ))
                .await?;
            self.expect(LOGGED_PARAMETERS, "in a parameter of a nested statement", Form::Plain);
        }

        let text = world.markers.control("in a parameter");
        client.execute("select $1::text", &[&text]).await?;
        self.expect(LOGGED_PARAMETERS, "in a parameter", Form::Plain);
        self.expect(SERVER_LOG, "in a parameter", Form::Decimal);

        let text = world.markers.control("in a statement");
        client.batch_execute(&format!("select '{text}'")).await?;
        self.expect(SERVER_LOG, "in a statement", Form::Plain);
        self.expect(ACTIVITY, "in a statement", Form::Plain);
        self._open.push(client);
        Ok(())
    }

    /// A cursor that outlives its transaction and does not fit into `work_mem`.
    async fn spilled(&mut self, world: &mut World) -> Result<()> {
        let client = world.seed.database.connect().await?;
        let text = world.markers.control("in a temporary file");
        client
            .batch_execute(&format!(
                "begin;
                 declare spilled cursor with hold for
                     select m || encode(m::bytea, 'hex') || encode(m::bytea, 'base64') from (select '{text}' || i as m from generate_series(1, 3000) i) s;
                 commit"
            ))
            .await?;
        for form in [Form::Plain, Form::Hex, Form::Base64] {
            self.expect(TEMPORARY, "in a temporary file", form);
        }
        self._open.push(client);
        Ok(())
    }

    /// What the gateway may hand over and say: the name of a vault, claims, the id of a request.
    async fn gateway(&mut self, world: &mut World) -> Result<()> {
        let id = world.markers.control("as the id of a vault");
        let workflow = world.markers.control("in the claims of a job");
        let vault =
            Vault::opened(world, &id, "greta", br#"{"environments":{"production":{"A":"1"}}}"#).await?;
        let jwt = world
            .mint("with a marked claim", &job().claim("workflow_ref", format!("acme/web/{workflow}@x")))?;
        let reply = vault.one_step(world, &jwt, "production").await?;
        ensure!(reply.status.is_success(), "{}", reply.text());
        world.markers.planted("the id of a request", reply.header("x-request-id"));
        self.expect(format!("{TABLES}/lpm.audit_log"), "as the id of a vault", Form::Plain);
        self.expect(format!("{TABLES}/lpm.audit_log"), "in the claims of a job", Form::Plain);
        // the login's own setting that keeps parameters out of the log has been taken away by now
        self.expect(LOGGED_PARAMETERS, "as the id of a vault", Form::Plain);
        self.expect(LOGGED_PARAMETERS, "in the claims of a job", Form::Hex);
        self.expect(GATEWAY_LOG, "the id of a request", Form::Plain);
        Ok(())
    }

    fn command(&mut self, world: &mut World) -> Result<()> {
        let id = world.markers.control("in what a command prints");
        let machine = Machine::new()?
            .with("LPM_REGISTRY_URL", world.gateway.url())
            .with("LPM_TOKEN", &world.seed.alice);
        let outcome = machine.with("LPM_VAULT_ID", &id).lpm(["env", "pull"])?;
        world.printed.push_str(&outcome.stderr);
        self.expect(PRINTED, "in what a command prints", Form::Plain);
        Ok(())
    }
}
