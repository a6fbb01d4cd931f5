//! `lpm env run`: a command with an environment's variables, and no file in between.

use super::{Session, ci_pull, local};
use crate::args::RunArgs;
use crate::error::{Error, Result};
use crate::output;
use lpm_core::dotenv;
use lpm_core::environment::Vars;
use lpm_core::failure::presentable;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// As shells have it: there is no such command.
const NOT_FOUND: u8 = 127;
/// As shells have it: the command cannot be run.
const NOT_RUNNABLE: u8 = 126;

/// Becomes the command; returns only when that fails.
pub(crate) fn run(session: &Session, args: &RunArgs) -> Result<u8> {
    let vars = if args.oidc {
        ci_pull::fetch(session, &args.environment)?.vars
    } else {
        local::vars(session, &session.environment(&args.environment)?)?
    };
    output::refuse_hijacking(&vars, &args.allow_name.allow_name)?;
    check(&vars)?;
    output::mask(&vars);

    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Error::usage("there is no command to run"));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(vars.iter().map(|(name, value)| (name, value.expose())));
    // Replaces this process: signals, terminal and exit code are the command's own.
    let error = command.exec();
    let exit = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
    // Without its name: `lpm env run -- NAME=VALUE COMMAND`, as shells have it, would show the value.
    let hint = if program.as_encoded_bytes().contains(&b'=') {
        "for a variable of the command alone: `lpm env run -- env NAME=VALUE COMMAND`"
    } else {
        ""
    };
    Err(Error::failure(format!("cannot run the command: {error}")).hint(hint).exit(exit))
}

/// What a process's environment cannot hold.
fn check(vars: &Vars) -> Result<()> {
    for (name, value) in vars {
        let what = match () {
            () if !dotenv::is_name(name) => "is no name of an environment variable",
            () if value.expose().contains('\0') => "has a value with a NUL character",
            () => continue,
        };
        return Err(Error::failure(format!("`{}` {what}, so nothing was run", presentable(name))));
    }
    Ok(())
}
