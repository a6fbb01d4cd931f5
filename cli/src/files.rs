//! Files written in one step: a reader sees the old content or the new one, never half of it.

use crate::error::{Error, Result};
use lpm_core::secret::Secret;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Only for the owner.
pub(crate) const PRIVATE: u32 = 0o600;
/// As the umask has it.
pub(crate) const SHARED: u32 = 0o666;

/// Replaces `path` by a file of these bytes; `mode` is narrowed by the umask.
///
/// What stands there and is no regular file (a terminal, a pipe, `/dev/null`) is written to instead.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = |error: std::io::Error| Error::file("write", path, &error);
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => {
            return Err(Error::failure(format!("cannot write `{}`: it is a directory", path.display())));
        }
        Ok(there) if !there.is_file() => {
            let mut special = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return special.write_all(bytes).map_err(failed);
        }
        _ => {}
    }
    let mut file = beside(path, mode).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Makes a private file of these bytes unless there is one already. `false`: somebody else was first.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<bool> {
    let failed = |error: std::io::Error| Error::file("write", path, &error);
    let mut file = beside(path, PRIVATE).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error.error)),
    }
}

/// Adds these bytes at the end of a file that exists or is made private.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Error::file("write", path, &error);
    let mut file = OpenOptions::new().append(true).create(true).mode(PRIVATE).open(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)
}

/// The bytes of a file, `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, &error)),
    }
}

/// The bytes of a file that only its owner may read, `None` where there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<Secret>> {
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(Error::failure(format!("`{shown}` can be read by others (mode {:o})", mode & 0o777))
            .hint(format!("if nobody has: `chmod 600 {shown}`")));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(Secret::new(std::mem::take(&mut *bytes))))
}

/// Deletes a file, where there is one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("delete", path, &error)),
        _ => Ok(()),
    }
}

/// Makes a directory that only the owner may enter, with those above it.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::file("make the directory", path, &error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let there = fs::metadata(path).map_err(failed)?;
    if there.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Holds a lock file until it is dropped, so that two commands do not overwrite each other's change.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| Error::file("lock", path, &error);
    let file = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// A new file in the directory of `path`, under a name that nothing has.
fn beside(path: &Path, mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    tempfile::Builder::new().prefix(".lpm-").permissions(Permissions::from_mode(mode)).tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory can be made")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_private_file_replaces_an_open_one() {
        let directory = directory();
        let path = directory.path().join("env");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
        write(&path, b"new", PRIVATE).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = directory();
        let missing = directory.path().join("no/such/env");
        assert!(write(&missing, b"new", PRIVATE).is_err());
        assert!(write(directory.path(), b"new", PRIVATE).is_err(), "a directory is not replaced");
    }

    #[test]
    fn what_is_no_regular_file_is_written_to() {
        write(Path::new("/dev/null"), b"gone", PRIVATE).expect("written");
        assert!(!fs::metadata("/dev/null").expect("it exists").is_file());
    }

    #[test]
    fn the_second_to_create_a_file_does_not_overwrite_it() {
        let directory = directory();
        let path = directory.path().join("key");
        assert!(create(&path, b"first").expect("made"));
        assert!(!create(&path, b"second").expect("seen"));
        assert_eq!(fs::read(&path).expect("read"), b"first");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_private_directory_is_closed_to_others() {
        let directory = directory();
        let path = directory.path().join("a/b");
        private_directory(&path).expect("made");
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("set");
        private_directory(&path).expect("closed");
        assert_eq!(mode(&path), 0o700);
    }
}
