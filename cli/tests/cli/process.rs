//! Variables that go straight into a process, from outside.

use crate::support::Machine;

#[test]
fn a_command_gets_the_variables_and_keeps_its_own() {
    let machine = Machine::new().with("OTHER", "mine").with_vault();
    machine.input(&["env", "set", "MULTI", "--env=production"], "two\nlines").ok();
    machine
        .args(&[
            "env",
            "run",
            "--env=production",
            "--",
            "sh",
            "-c",
            "echo \"$API_KEY $OTHER\"; printf %s \"$MULTI\"",
        ])
        .prints("sk-live mine\ntwo\nlines");
}

#[test]
fn the_commands_exit_code_is_passed_on() {
    let machine = Machine::new().with_vault();
    for code in [0, 1, 2, 42, 255] {
        let script = format!("exit {code}");
        let run = machine.args(&["env", "run", "--env=production", "--", "sh", "-c", &script]);
        assert_eq!(run.code, Some(code));
        assert!(run.stderr.is_empty());
    }
    machine.lpm("env run --env=production -- false").refused(1, "");
}

#[test]
fn standard_input_is_the_commands() {
    let machine = Machine::new().with_vault();
    let run = machine.input(&["env", "run", "--env=production", "--", "cat"], "through").ok();
    assert_eq!(run.stdout, "through");
}

#[test]
fn a_command_that_cannot_run_ends_as_in_a_shell() {
    let machine = Machine::new().with_vault();
    machine
        .lpm("env run --env=production -- no-such-command")
        .refused(127, "cannot run the command: No such file")
        .hides("sk-live");
    machine.write("plain", "no program");
    machine
        .lpm("env run --env=production -- ./plain")
        .refused(126, "cannot run the command: Permission denied");
}

#[test]
fn no_environment_means_no_command() {
    let machine = Machine::new().with_vault();
    machine.lpm("env run -- touch ran").refused(1, "there is no environment `default`");
    machine.lpm("env run --env=staging -- touch ran").refused(1, "there is no environment `staging`");
    assert!(!machine.project().join("ran").exists());
}

#[test]
fn names_that_take_a_process_over_are_refused() {
    let machine = Machine::new();
    machine.lpm("env set API_KEY=x LD_PRELOAD=hush GITHUB_ENV=hush").ok();
    for command in [
        "env run -- touch ran",
        "env export --output=-",
        "env export --format=shell",
        "env run --allow-name=LD_PRELOAD -- touch ran",
    ] {
        machine.lpm(command).refused(1, "such a name takes it over").hides("hush");
    }
    assert!(!machine.project().join("ran").exists());
    let run = machine.lpm("env run -- true").refused(1, "GITHUB_ENV,LD_PRELOAD");
    assert!(run.stderr.contains("--allow-name=GITHUB_ENV,LD_PRELOAD"), "{}", run.stderr);
    // What only lies in a file, or is data, is nobody's process.
    machine.lpm("env export --output=x.env").ok();
    machine.lpm("env export --format=json").ok();
    machine.lpm("env export").ok();
}

#[test]
fn a_refused_name_can_be_allowed_by_name() {
    let machine = Machine::new();
    machine.lpm("env set NODE_OPTIONS=--trace PAGER=less").ok();
    machine.lpm("env run --allow-name=NODE_OPTIONS,PAGER -- printenv NODE_OPTIONS").prints("--trace\n");
    machine.lpm("env run --allow-name NODE_OPTIONS --allow-name PAGER -- printenv PAGER").prints("less\n");
    machine.lpm("env export --output=- --allow-name=NODE_OPTIONS").refused(1, "`PAGER`");
    let allowed = machine.with("LPM_ALLOW_NAME", "NODE_OPTIONS,PAGER");
    allowed.lpm("env export --output=-").prints("export NODE_OPTIONS='--trace'\nexport PAGER='less'\n");
}

#[test]
fn github_gets_variables_at_the_end_of_its_file() {
    let machine = Machine::new();
    machine.lpm("env set A=1").ok();
    machine.input(&["env", "set", "B"], "two\nlines").ok();
    machine.lpm("env export --format=github").refused(2, "GITHUB_ENV is not set");
    machine.write("github_env", "BEFORE=1\n");
    let file = machine.project().join("github_env").display().to_string();
    let machine = machine.with("GITHUB_ENV", &file);
    machine.lpm("env export --format=github").prints("");
    let text = machine.read("github_env");
    let lines: Vec<&str> = text.lines().collect();
    let delimiter = lines[1].strip_prefix("A<<").expect("a value with a delimiter");
    assert_eq!(
        lines,
        ["BEFORE=1", lines[1], "1", delimiter, &format!("B<<{delimiter}"), "two", "lines", delimiter]
    );
    machine.lpm("env export --format=github").ok();
    let again = machine.read("github_env");
    assert!(
        again.starts_with(&text) && again[text.len()..].matches(delimiter).count() == 0,
        "a new delimiter each time"
    );
}

#[test]
fn under_github_actions_every_value_and_line_is_masked() {
    let machine = Machine::new();
    machine.lpm("env set A=s3cret%1").ok();
    machine.input(&["env", "set", "B"], "line one\n\nline two").ok();
    assert_eq!(machine.lpm("env export --output=x.env").ok().hides("::add-mask::").code, Some(0));
    let machine = machine.with("GITHUB_ACTIONS", "true");
    let masks = "::add-mask::s3cret%251\n::add-mask::line one%0A%0Aline two\n::add-mask::line one\n::add-mask::line two\n";
    for command in
        ["env export --output=x.env", "env export --output=-", "env export --json", "env run -- true"]
    {
        let run = machine.lpm(command).ok();
        assert!(run.stderr.contains(masks), "{command}: {}", run.stderr);
        assert!(!run.stdout.contains("::add-mask::"), "{command}");
    }
    let run = machine.lpm("env get A").prints("s3cret%1\n");
    assert_eq!(run.stderr, "::add-mask::s3cret%251\n");
}
