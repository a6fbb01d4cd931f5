use super::*;
use clap::CommandFactory;

/// Flags whose meaning belongs to one call: a variable left over from another one must not widen it.
const WITHOUT_VARIABLE: &[&str] = &[
    "all",
    "replace",
    "org",
    "yes",
    "legacy-clients",
    "show-values",
    "exit-code",
    "forget-unreachable",
    "revoke-policies",
    "role",
    "force",
    "accept-legacy-key",
    "repo",
    "project",
    "env",
    "all-environments",
    "branch",
    "all-branches",
    "tag",
    "event",
    "allow-forks",
    "ci-environment",
    "workflow",
    "reusable-workflow",
    "protected-only",
    "runner",
    "audience",
    "issuer",
    "repository-id",
    "owner-id",
    "project-id",
    "claims",
    "with-token",
    "revoke",
    "check",
    "yes",
    "help",
    "version",
];

fn each(command: &clap::Command, path: &str, check: &mut dyn FnMut(&str, &clap::Command)) {
    let path = format!("{path} {}", command.get_name());
    check(&path, command);
    command.get_subcommands().for_each(|sub| each(sub, &path, check));
}

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split_whitespace())
}

fn env(line: &str) -> EnvCommand {
    match parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command.canonical() {
        Command::Env(command) => command,
        _ => panic!("{line} is not about `env`"),
    }
}

fn allow(line: &str) -> AllowArgs {
    match env(line) {
        EnvCommand::Oidc(OidcCommand::Allow(args)) => *args,
        _ => panic!("{line} is not `allow`"),
    }
}

#[test]
fn the_definitions_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn every_command_and_flag_has_help() {
    each(&Args::command(), "", &mut |path, command| {
        assert!(command.get_about().is_some(), "{path} has no help");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{path} {} has no help", arg.get_id());
        }
        if command.get_subcommands().next().is_none() && command.get_name() != "vars" {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains("Example"), "{path} has no example");
        }
    });
}

#[test]
fn every_flag_has_a_variable_or_is_known_to_have_none() {
    each(&Args::command(), "", &mut |path, command| {
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
            let long = arg.get_long().unwrap_or_default();
            match arg.get_env() {
                Some(name) => assert!(name.to_string_lossy().starts_with("LPM_"), "{path} --{long}"),
                None => assert!(WITHOUT_VARIABLE.contains(&long), "{path} --{long} has no variable"),
            }
        }
    });
}

#[test]
fn no_help_shows_the_value_of_a_variable() {
    each(&Args::command(), "", &mut |path, command| {
        for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            assert!(arg.is_hide_env_values_set(), "{path} {} would show it", arg.get_id());
        }
    });
}

#[test]
fn the_product_page_works_as_written() {
    let args = allow("lpm env oidc allow --provider=github --repo=owner/repo --branch=main --env=production");
    assert_eq!(
        (args.repo.as_deref(), args.env.as_slice()),
        (Some("owner/repo"), &["production".to_owned()][..])
    );
    assert!(matches!(env("lpm env oidc list"), EnvCommand::Oidc(OidcCommand::List(_))));
    assert!(matches!(env("lpm env oidc revoke p1"), EnvCommand::Oidc(OidcCommand::Revoke(_))));
    let EnvCommand::Pull(pull) = env("lpm env pull --oidc --env=production --output=.env") else {
        panic!("pull")
    };
    assert!(pull.oidc && pull.output.output.as_deref() == Some(".env"));
    assert!(matches!(env("lpm env push"), EnvCommand::Push(_)));
}

#[test]
fn both_spellings_of_flags_and_of_the_group_work() {
    let equals = allow("lpm use vars oidc allow --repo=a/b --branch=main,dev --branch=x --env=p");
    let spaces = allow("lpm env oidc allow --repo a/b --branch main,dev --branch x --env p");
    assert_eq!(equals.branch, ["main", "dev", "x"]);
    assert_eq!(equals.branch, spaces.branch);
    assert_eq!(equals.env, spaces.env);
    assert!(allow("lpm env oidc allow --repo=a/b --env=p --forks").allow_forks);
    assert!(allow("lpm env oidc allow --repo=a/b --env=p --allow-forks").allow_forks);
}

#[test]
fn allow_needs_to_know_who_and_what() {
    for line in [
        "lpm env oidc allow --repo=a/b",
        "lpm env oidc allow --env=production",
        "lpm env oidc allow --repo=a/b --project=c/d --env=production",
        "lpm env oidc allow --repo=a/b --env=production --all-environments",
        "lpm env oidc allow --repo=a/b --env=production --branch=main --all-branches",
        "lpm env oidc allow --repo=a/b --enviroment=production",
    ] {
        assert_eq!(parse(line).err().map(|error| error.exit_code()), Some(2), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "lpm",
        "lpm env",
        "lpm env set",
        "lpm env get",
        "lpm env get A B",
        "lpm env delete",
        "lpm env delete A --all",
        "lpm env run",
        "lpm env run --env=x",
        "lpm env pull --format=yaml",
        "lpm env oidc revoke",
        "lpm env oidc repin",
        "lpm ci setup",
        "lpm ci setup jenkins",
        "lpm env push --timeout=0",
    ] {
        assert_eq!(parse(line).err().map(|error| error.exit_code()), Some(2), "{line}");
    }
}

#[test]
fn a_command_to_run_keeps_its_own_flags() {
    let EnvCommand::Run(run) = env("lpm env run --env=p -- sh -c x --env=q --json") else { panic!("run") };
    assert_eq!(run.command, ["sh", "-c", "x", "--env=q", "--json"]);
    assert_eq!(run.environment.env.as_deref(), Some("p"));
}
