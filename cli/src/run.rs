//! From the command line to the exit code.

use crate::args::{Args, CiCommand, Command, EnvCommand, OidcCommand, without_words};
use crate::commands::{
    Session, account, allow, check, ci_pull, ci_setup, diff, local, login, logout, oidc, org, org_sync, pair,
    remote, restore, rotate_key, run_command, sessions, sync,
};
use crate::error::{Error, Result};
use crate::output;
use clap::Parser;

/// Does what the command line says and answers with the exit code.
pub(crate) fn run() -> u8 {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
            let error = without_words(error, &words.collect::<Vec<_>>());
            // Help goes to standard output, mistakes to standard error; a closed pipe is no third outcome.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(lpm_core::failure::exit::USAGE);
        }
    };
    let json = args.globals.json;
    match execute(args) {
        Ok(code) => code,
        Err(error) => report(&error, json),
    }
}

fn execute(args: Args) -> Result<u8> {
    let mut session = Session::new(args.globals)?;
    let done = |result: Result<()>| result.map(|()| 0);
    match args.command.canonical() {
        Command::Login(args) => done(login::login(&session, &args)),
        Command::Logout(args) => done(logout::logout(&session, &args)),
        Command::Whoami => done(account::whoami(&session)),
        Command::TokenRotate => done(account::rotate(&session)),
        Command::Sessions(args) => done(sessions::sessions(&session, args.command)),
        Command::Env(command) => env(&mut session, command),
        Command::Org(command) => done(org::run(&session, command)),
        Command::Ci(CiCommand::Setup(args)) => done(ci_setup::setup(&session, &args)),
        Command::Use(_) => Err(Error::usage("`lpm use vars` is another spelling of `lpm env`")),
    }
}

fn env(session: &mut Session, command: EnvCommand) -> Result<u8> {
    match command {
        EnvCommand::Set(args) => local::set(session, args),
        EnvCommand::Get(args) => local::get(session, &args),
        EnvCommand::List(args) => local::list(session, &args),
        EnvCommand::Delete(args) => local::delete(session, &args),
        EnvCommand::Import(args) => local::import(session, &args),
        EnvCommand::Export(args) => local::export(session, &args),
        EnvCommand::NewId => local::new_id(session),
        EnvCommand::Push(args) => sync::push(session, &args),
        EnvCommand::Pull(args) if args.oidc => ci_pull::pull(session, &args),
        EnvCommand::Pull(args) => sync::pull(session, &args),
        EnvCommand::Share(args) => org_sync::share(session, &args),
        EnvCommand::Diff(args) => return diff::diff(session, &args),
        EnvCommand::Restore(args) => restore::restore(session, &args),
        EnvCommand::RotateKey(args) => rotate_key::rotate(session, &args),
        EnvCommand::Check(args) => return check::check(session, &args),
        EnvCommand::Example(args) => check::example(session, &args),
        EnvCommand::ListRemote(args) => remote::list(session, &args),
        EnvCommand::Log(args) => remote::log(session, &args),
        EnvCommand::Pair(args) => pair::pair(session, &args),
        EnvCommand::Unpair => pair::unpair(session),
        EnvCommand::Run(args) => return run_command::run(session, &args),
        EnvCommand::Oidc(command) => return policies(session, command),
    }
    .map(|()| 0)
}

fn policies(session: &mut Session, command: OidcCommand) -> Result<u8> {
    match command {
        OidcCommand::Allow(args) => allow::allow(session, &args),
        OidcCommand::List(args) => oidc::list(session, &args),
        OidcCommand::Revoke(args) => oidc::revoke(session, &args.policy),
        OidcCommand::Disable(args) => oidc::disable(session, &args),
        OidcCommand::Repin(args) => oidc::repin(session, &args),
        OidcCommand::Explain(args) => return oidc::explain(session, &args),
    }
    .map(|()| 0)
}

fn report(error: &Error, json: bool) -> u8 {
    error.lines().iter().for_each(output::note);
    if json && output::json(&error.json()).is_err() {
        return lpm_core::failure::exit::FAILURE;
    }
    error.exit_code()
}
