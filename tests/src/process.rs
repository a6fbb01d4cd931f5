//! Processes that are started, waited for by event, and ended with their starter.

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub use rustix::process::Signal;
use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a daemon may take to say that it is ready.
pub const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long something that has no event of its own may take to come true.
const EVENT_LIMIT: Duration = Duration::from_secs(60);

/// Whether a process ends with the one that started it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// It ends when its handle is dropped or the starter dies.
    #[default]
    Bound,
    /// It stays until somebody ends it (`lpm-dev up` and `down`).
    Detached,
}

/// Runs `command` to its end; a failure shows what it printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(output)
}

/// What a successful `command` printed, without the last line break.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    Ok(String::from_utf8(output.stdout).context("the output is not UTF-8")?.trim_end().to_owned())
}

/// A helper process that cleans up when this process ends, also by SIGKILL.
///
/// Its standard input is a pipe whose other end only we hold: the kernel closes it with us, and the
/// helper then runs its script. Statics are never dropped and destructors do not run in a killed test,
/// so nothing less keeps clusters from being left behind.
pub struct Guardian {
    helper: Child,
}

impl Guardian {
    /// Guards with `script`, a shell script that sees `args` as `$1`, `$2`, ….
    pub fn new<I, S>(script: &str, args: I) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let helper = Command::new("sh")
            .arg("-c")
            // whoever reads our output to its end has then also waited for the cleaning up
            .arg(format!("exec 9>&2 2>/dev/null\nread -r released && exit 0\n{script}"))
            .arg("guardian")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .current_dir("/")
            // its own group, so that Ctrl-C at a terminal does not end it before it has cleaned up
            .process_group(0)
            .spawn()
            .context("cannot start a guardian")?;
        Ok(Self { helper })
    }

    /// Ends the guardian without its script.
    pub fn release(mut self) {
        if let Some(mut pipe) = self.helper.stdin.take() {
            // A guardian that has died has nothing to be released from.
            let _ = writeln!(pipe, "released");
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.helper.stdin.take());
        let _ = self.helper.wait();
    }
}

/// A long-running process with a log file and a line that says that it is ready.
pub struct Daemon {
    child: Child,
    guardian: Option<Guardian>,
    log: PathBuf,
    ready: String,
}

impl Daemon {
    /// Starts `command` with its output in `log` and returns when a line contains `needle`.
    pub fn start(command: &mut Command, log: &Path, needle: &str, lifetime: Lifetime) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let offset = file.metadata()?.len();
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        // not the whole command: its environment may hold a password
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let guardian = match lifetime {
            Lifetime::Bound => Some(Guardian::new(r#"kill -9 "$1""#, [child.id().to_string()])?),
            Lifetime::Detached => None,
        };
        let mut daemon = Self { child, guardian, log: log.to_owned(), ready: String::new() };
        daemon.ready = await_line(log, offset, &mut daemon.child, needle)
            .with_context(|| format!("{name} did not get ready"))?;
        Ok(daemon)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The line that said that it is ready.
    #[must_use]
    pub fn ready_line(&self) -> &str {
        &self.ready
    }

    /// The file with everything that it printed.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything that it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Waits until it has ended, for whatever reason.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        if let Some(guardian) = self.guardian.take() {
            guardian.release();
        }
        Ok(status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A detached daemon has no guardian and stays.
        if let Some(guardian) = self.guardian.take() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            guardian.release();
        }
    }
}

/// Returns when `holds` does; there is no event to wait for.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds().await? {
        if began.elapsed() > EVENT_LIMIT {
            bail!("not within {EVENT_LIMIT:?}: {what}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Ends a process that is not our child: asks it, and insists when it has not ended after ten seconds.
pub fn end(pid: i32) -> Result<()> {
    let pid = Pid::from_raw(pid).context("0 is no process")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    for signal in [Signal::TERM, Signal::KILL] {
        pidfd_send_signal(&process, signal)?;
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        if poll(&mut ended, Some(&Timespec { tv_sec: 10, tv_nsec: 0 }))? == 1 {
            return Ok(());
        }
    }
    bail!("process {} does not end", pid.as_raw_pid())
}

/// Sends a signal to a process that is not our child.
pub fn signal(pid: i32, signal: Signal) -> Result<()> {
    let process = Pid::from_raw(pid).context("0 is no process")?;
    kill_process(process, signal).with_context(|| format!("process {pid}"))
}

/// Stops a process without its knowing, and returns when each of its threads stands still.
pub fn freeze(pid: i32) -> Result<()> {
    signal(pid, Signal::STOP)?;
    let stands = |task: &Path| -> Result<bool> {
        let stat = std::fs::read_to_string(task.join("stat"))?;
        // the state stands behind the name, which may hold anything
        Ok(stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
    };
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
        let mut still = true;
        for task in tasks {
            still &= stands(&task?.path())?;
        }
        if still {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "process {pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The children of a process.
pub fn children(pid: i32) -> Result<Vec<i32>> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(list.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

/// Kills a process at once, and returns when nothing is left of it and of the children that it had.
///
/// For a server whose processes end by themselves when they see that the first of them is no more.
pub fn kill_family(pid: i32) -> Result<()> {
    let children = children(pid)?;
    signal(pid, Signal::KILL)?;
    let deadline = Instant::now() + READY_LIMIT;
    for member in children.into_iter().chain([pid]) {
        // Until its parent has taken notice too: before, it still counts as a process. That has no event.
        while Path::new("/proc").join(member.to_string()).exists() {
            ensure!(Instant::now() < deadline, "process {member} of the family of {pid} stays");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Waits until a line of `log` behind `offset` contains `needle`; fails soon after `child` has ended without it.
///
/// `tail` follows the file by inotify, so nobody polls it and a writer needs no reader to stay alive.
fn await_line(log: &Path, offset: u64, child: &mut Child, needle: &str) -> Result<String> {
    let mut tail = Command::new("tail")
        .args(["-f", "-c"])
        .arg(format!("+{}", offset + 1))
        .arg(log)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run tail")?;
    let output = tail.stdout.take().context("tail has no output")?;
    let (send, receive) = mpsc::channel();
    let needle = needle.to_owned();
    let reader = std::thread::spawn(move || {
        let found = BufReader::new(output).lines().map_while(Result::ok).find(|line| line.contains(&needle));
        // the receiver is gone when the wait is over: then nobody wants it
        let _ = found.map(|line| send.send(line));
    });
    let deadline = Instant::now() + READY_LIMIT;
    let found = loop {
        match receive.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => break Ok(line),
            Err(_) if child.try_wait()?.is_some() => break Err("it ended".to_owned()),
            Err(_) if Instant::now() > deadline => break Err(format!("nothing within {READY_LIMIT:?}")),
            Err(_) => {}
        }
    };
    let _ = tail.kill();
    let _ = tail.wait();
    let _ = reader.join();
    found.map_err(|what| anyhow!("{what}; it printed:\n{}", std::fs::read_to_string(log).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_daemon_is_ready_when_its_line_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let daemon = Daemon::start(
            &mut shell("echo before; echo ready at 7; exec cat /dev/zero >/dev/null"),
            &log,
            "ready",
            Lifetime::Bound,
        )
        .unwrap();
        assert_eq!(daemon.ready_line(), "ready at 7");
        assert!(daemon.log().starts_with("before\n"));
    }

    #[test]
    fn a_daemon_that_ends_early_shows_what_it_printed() {
        let dir = tempfile::tempdir().unwrap();
        let failed = Daemon::start(
            &mut shell("echo no luck >&2; exit 3"),
            &dir.path().join("log"),
            "ready",
            Lifetime::Bound,
        );
        let text = format!("{:#}", failed.err().unwrap());
        assert!(text.contains("it ended") && text.contains("no luck"), "{text}");
    }

    #[test]
    fn a_dropped_daemon_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(
            &mut shell("echo ready; exec cat /dev/zero >/dev/null"),
            &dir.path().join("log"),
            "ready",
            Lifetime::Bound,
        )
        .unwrap();
        let proc_entry = PathBuf::from(format!("/proc/{}", daemon.pid()));
        assert!(proc_entry.exists());
        drop(daemon);
        assert!(!proc_entry.exists());
    }

    #[test]
    fn a_guardian_cleans_up_unless_released() {
        let dir = tempfile::tempdir().unwrap();
        let (fired, released) = (dir.path().join("fired"), dir.path().join("released"));
        drop(Guardian::new(r#"touch "$1""#, [&fired]).unwrap());
        Guardian::new(r#"touch "$1""#, [&released]).unwrap().release();
        assert!(fired.exists());
        assert!(!released.exists());
    }
}
