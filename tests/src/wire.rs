//! The PostgreSQL protocol by hand, for what no driver does: Parse, Bind and Execute without Sync.

use crate::database::{Database, Login};
use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A connection over the cluster's socket.
pub struct Wire {
    stream: UnixStream,
    outgoing: BytesMut,
    incoming: BytesMut,
}

impl Wire {
    /// Logs in with SCRAM-SHA-256.
    pub async fn connect(database: &Database, login: &Login) -> Result<Self> {
        let stream = UnixStream::connect(database.socket_dir().join(".s.PGSQL.5432")).await?;
        let mut wire = Self { stream, outgoing: BytesMut::new(), incoming: BytesMut::new() };
        frontend::startup_message(
            [("user", login.user.as_str()), ("database", database.name())],
            &mut wire.outgoing,
        )?;
        wire.flush().await?;
        let mut scram = ScramSha256::new(login.password.as_bytes(), ChannelBinding::unsupported());
        loop {
            match wire.message().await? {
                Message::AuthenticationSasl(_) => {
                    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut wire.outgoing)?;
                    wire.flush().await?;
                }
                Message::AuthenticationSaslContinue(body) => {
                    scram.update(body.data())?;
                    frontend::sasl_response(scram.message(), &mut wire.outgoing)?;
                    wire.flush().await?;
                }
                Message::AuthenticationSaslFinal(body) => scram.finish(body.data())?,
                Message::ReadyForQuery(_) => return Ok(wire),
                Message::ErrorResponse(_) => bail!("the login was refused"),
                _ => {}
            }
        }
    }

    /// Queues Parse, Bind and Execute of one statement with text parameters.
    pub fn execute(&mut self, sql: &str, arguments: &[Option<&str>]) -> Result<()> {
        frontend::parse("", sql, [], &mut self.outgoing)?;
        let bound = frontend::bind(
            "",
            "",
            [],
            arguments.iter().copied(),
            |argument, buffer| {
                Ok(match argument {
                    Some(text) => {
                        buffer.extend_from_slice(text.as_bytes());
                        postgres_protocol::IsNull::No
                    }
                    None => postgres_protocol::IsNull::Yes,
                })
            },
            [0],
            &mut self.outgoing,
        );
        bound.ok().context("the parameters could not be bound")?;
        frontend::execute("", 0, &mut self.outgoing)?;
        Ok(())
    }

    /// Sends what is queued, with a Flush and no Sync.
    pub async fn flush(&mut self) -> Result<()> {
        if !self.outgoing.is_empty() {
            self.stream.write_all(&self.outgoing.split()).await?;
        }
        Ok(())
    }

    /// The next `count` rows, each as its columns in one line.
    pub async fn rows(&mut self, count: usize) -> Result<Vec<String>> {
        // Flush: `H` and its length
        self.stream.write_all(&[b'H', 0, 0, 0, 4]).await?;
        let mut rows = Vec::new();
        while rows.len() < count {
            match self.message().await? {
                Message::DataRow(row) => {
                    let columns: Vec<String> = row
                        .ranges()
                        .map(|range| {
                            Ok(range.map_or("null".to_owned(), |r| {
                                String::from_utf8_lossy(&row.buffer()[r]).into_owned()
                            }))
                        })
                        .collect()?;
                    rows.push(columns.join(" "));
                }
                Message::ErrorResponse(error) => {
                    let fields: Vec<String> = error
                        .fields()
                        .map(|field| Ok(String::from_utf8_lossy(field.value_bytes()).into_owned()))
                        .collect()?;
                    bail!("the server refused: {}", fields.join(", "));
                }
                _ => {}
            }
        }
        Ok(rows)
    }

    async fn message(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.incoming)? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}
