//! `lpm-dev run`: a command beside a stack of its own, which ends with it.

use crate::console::say;
use crate::docs::machine;
use anyhow::{Context as _, Result};
use lpm_tests::stack::{Shared, Stack};
use std::env;

/// Runs `command` here, on the same machine as the documentation's examples; true when it succeeds.
pub(crate) async fn run(command: &[String]) -> Result<bool> {
    let (program, arguments) = command.split_first().context("there is no command")?;
    let stack = Stack::of(&Shared::new().await?).await?;
    let machine = machine(&stack)?;
    let mut command = machine.command(program);
    let status = command.args(arguments).current_dir(env::current_dir()?).status()?;
    if !status.success() {
        say(format_args!("--- the gateway's log\n{}", stack.gateway.log()));
    }
    Ok(status.success())
}
