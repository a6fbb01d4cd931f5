//! A command that prints the keys: bounded in time and size, and never in the way of a shutdown.

use lpm_core::secret::Secret;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a wait may last before somebody is asked whether to go on.
const SLICE: Duration = Duration::from_secs(1);

/// Until when to wait, and who may end it before.
struct Patience<'a> {
    limit: Duration,
    deadline: Instant,
    ending: &'a dyn Fn() -> bool,
}

/// Runs `command` in a process group of its own and takes what it prints, at most `max` bytes. The group is killed
/// when the command has not ended within `limit`, whatever it has printed by then.
pub(super) fn output(
    command: &str,
    max: u64,
    limit: Duration,
    ending: &dyn Fn() -> bool,
) -> Result<Secret, String> {
    let patience = Patience { limit, deadline: Instant::now() + limit, ending };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|problem| format!("cannot be started: {problem}"))?;
    let output = read(&mut child, max, &patience).and_then(|output| {
        patience.wait_for(exit_of(&child)?.as_fd())?;
        Ok(output)
    });
    if output.is_err() {
        let group = i32::try_from(child.id()).unwrap_or(0);
        if group > 1 {
            // SAFETY: signals the group that we started and have not yet waited for.
            unsafe {
                libc::kill(-group, libc::SIGKILL);
            }
        }
    }
    let status = child.wait().map_err(|problem| format!("cannot be waited for: {problem}"))?;
    let output = output?;
    if !status.success() {
        return Err(format!("failed: {status}"));
    }
    Ok(output)
}

/// Reads the child's output to its end.
fn read(child: &mut Child, max: u64, patience: &Patience<'_>) -> Result<Secret, String> {
    let mut stdout = child.stdout.take().ok_or("has no output")?;
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(max).unwrap_or(0) + 4096));
    let mut chunk = Zeroizing::new([0_u8; 4096]);
    loop {
        patience.wait_for(stdout.as_fd())?;
        let count = stdout.read(&mut *chunk).map_err(|problem| format!("cannot be read: {problem}"))?;
        if count == 0 {
            return Ok(Secret::new(std::mem::take(&mut *content)));
        }
        content.extend_from_slice(&chunk[..count]);
        if content.len() as u64 > max {
            return Err(format!("printed more than {} KiB", max / 1024));
        }
    }
}

/// A descriptor that can be read once the child has ended: `pidfd_open(2)`.
fn exit_of(child: &Child) -> Result<OwnedFd, String> {
    // SAFETY: takes two numbers; the child has not been waited for, so the id is its own.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    match i32::try_from(descriptor) {
        // SAFETY: just opened, and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(format!("cannot be watched: {}", std::io::Error::last_os_error())),
    }
}

impl Patience<'_> {
    /// Returns once there is something to read.
    fn wait_for(&self, descriptor: BorrowedFd<'_>) -> Result<(), String> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now()).min(SLICE);
            let mut waiting = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd, and its count.
            let ready = unsafe {
                libc::poll(&raw mut waiting, 1, i32::try_from(left.as_millis()).unwrap_or(i32::MAX))
            };
            if ready > 0 {
                return Ok(());
            }
            let problem = std::io::Error::last_os_error();
            if ready < 0 && problem.kind() != std::io::ErrorKind::Interrupted {
                return Err(format!("cannot be read: {problem}"));
            }
            if (self.ending)() {
                return Err("was ended: the server is shutting down".to_owned());
            }
            if Instant::now() >= self.deadline {
                return Err(format!("did not finish within {} seconds", self.limit.as_secs()));
            }
        }
    }
}
