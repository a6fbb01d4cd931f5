//! The places where secrets could be left, each searched for everything.

use crate::world::World;
use anyhow::{Context, Result, ensure};
use lpm_tests::database::Database;
use lpm_tests::leaks::Search;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// What tables and views hold, and those of the system too.
pub(crate) const TABLES: &str = "tables";
/// What `pg_stat_activity` showed while requests were under way.
pub(crate) const ACTIVITY: &str = "statements under way";
/// Files of sorts and cursors while they are in use.
pub(crate) const TEMPORARY: &str = "temporary files";
/// Everything that the server keeps, the history of its changes included.
pub(crate) const DATA: &str = "data directory";
/// Everything that the server said.
pub(crate) const SERVER_LOG: &str = "server log";
/// The parts of it that say where in a value something went wrong.
pub(crate) const LOGGED_CONTEXT: &str = "server log, context";
/// The parts of it that show parameters.
pub(crate) const LOGGED_PARAMETERS: &str = "server log, parameters";
/// Everything that the gateways said.
pub(crate) const GATEWAY_LOG: &str = "gateway log";
/// What commands print that is no secret.
pub(crate) const PRINTED: &str = "output of commands";

/// Longest line of the log that is looked at by itself.
const SHORT: usize = 64 * 1024;

/// A connection as superuser of which nothing is logged, for the search itself.
async fn silent(database: &Database) -> Result<Client> {
    let client = database.connect().await?;
    client
        .batch_execute(
            "set log_statement = none; set log_min_duration_statement = -1; set log_duration = off; set log_min_messages = panic;
             set log_min_error_statement = panic; set debug_print_parse = off; set debug_print_rewritten = off;
             set debug_print_plan = off; set auto_explain.log_min_duration = -1; set pg_stat_statements.track = none",
        )
        .await?;
    Ok(client)
}

/// Looks at `pg_stat_activity` again and again.
pub(crate) struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<HashSet<String>>>,
}

impl Sampler {
    pub(crate) async fn start(world: &World) -> Result<Self> {
        let client = silent(&world.seed.database).await?;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let sql = client
                .prepare("select concat_ws(' ', a.application_name, a.query) from pg_stat_activity a where a.pid <> pg_backend_pid()")
                .await?;
            let mut seen = HashSet::new();
            loop {
                seen.extend(client.query(&sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)));
                tokio::select! {
                    _ = &mut stopped => return Ok(seen),
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        });
        Ok(Self { stop, task })
    }

    /// Everything that was seen.
    async fn finish(self) -> Result<HashSet<String>> {
        // a task that has failed is joined below
        let _ = self.stop.send(());
        self.task.await?
    }
}

/// Searches everything; the server is stopped on the way, so that nothing is in memory only.
pub(crate) async fn search(world: &mut World, sampler: Sampler) -> Result<Search> {
    let mut search = Search::new(&world.markers)?;
    search.directory(TEMPORARY, &world.cluster.data_dir().join("base/pgsql_tmp"))?;
    let seen = sampler.finish().await?;
    ensure!(seen.iter().any(|query| query.contains("lpm_api.open")), "the pulls were not seen: {seen:?}");
    search.bytes(ACTIVITY, seen.into_iter().collect::<Vec<_>>().join("\n").as_bytes());
    tables(world, &mut search).await?;
    search.bytes(PRINTED, world.printed.as_bytes());
    world.gateway.terminate()?;
    search.directory(GATEWAY_LOG, &world.gateway_logs())?;
    world.cluster.stop("fast")?;
    search.directory(DATA, &world.cluster.data_dir())?;
    search.reader(SERVER_LOG, Unwrapped::open(&world.cluster.log_path())?)?;
    parts_of_the_log(&mut search, &world.cluster.log_path(), &world.seed.gateway_login.user)?;
    Ok(search)
}

/// Every table and view as text, one place each.
async fn tables(world: &World, search: &mut Search) -> Result<()> {
    let client = silent(&world.seed.database).await?;
    let relations = client
        .query(
            "select format('%s.%s', n.nspname, c.relname), format('select t::text from %I.%I t', n.nspname, c.relname)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where c.relkind in ('r', 'v', 'm') and c.relpersistence <> 't' and n.nspname not in ('pg_toast', 'information_schema')",
            &[],
        )
        .await?;
    for relation in relations {
        let (name, sql): (&str, &str) = (relation.get(0), relation.get(1));
        let rows = client.query(sql, &[]).await.with_context(|| sql.to_owned())?;
        let rows: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        search.bytes(&format!("{TABLES}/{name}"), rows.join("\n").as_bytes());
    }
    Ok(())
}

/// The log with its messages on one line each, as they were before the server broke them: inside a plan it does so
/// after any number of 78 columns.
struct Unwrapped {
    log: BufReader<File>,
    line: Vec<u8>,
    read: usize,
}

impl Unwrapped {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { log: BufReader::with_capacity(1 << 20, File::open(path)?), line: Vec::new(), read: 0 })
    }
}

impl Read for Unwrapped {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read == self.line.len() {
            self.line.clear();
            self.read = 0;
            self.log.read_until(b'\n', &mut self.line)?;
            if self.log.fill_buf()?.first() == Some(&b'\t') {
                self.log.consume(1);
                self.line.pop();
                self.line.push(b' ');
            }
        }
        let count = buffer.len().min(self.line.len() - self.read);
        buffer[..count].copy_from_slice(&self.line[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

/// The lines of the log that the controls speak of; and no line says that the gateway spilled anything to disk.
fn parts_of_the_log(search: &mut Search, path: &Path, gateway: &str) -> Result<()> {
    let mut log = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut context, mut parameters) = (Vec::new(), Vec::new());
    let (mut line, mut spilled) = (Vec::new(), false);
    while log.read_until(b'\n', &mut line)? > 0 {
        let head = String::from_utf8_lossy(&line[..line.len().min(160)]);
        if head.contains(" temporary file: ") {
            ensure!(
                !head.contains(&format!("] {gateway} ")),
                "a statement of the gateway spilled to disk: {head}"
            );
            spilled = true;
        }
        if line.len() > SHORT {
            // ciphertext, which the search of the whole log has seen
        } else if head.contains("CONTEXT:  ") {
            context.extend_from_slice(&line);
        } else if head.contains("arameters: ") {
            parameters.extend_from_slice(&line);
        }
        line.clear();
    }
    ensure!(spilled, "the log does not say that our own cursor spilled to disk");
    search.bytes(LOGGED_CONTEXT, &context);
    search.bytes(LOGGED_PARAMETERS, &parameters);
    Ok(())
}
