//! Files that hold secrets: read only when nobody else may, written so that nobody else can and that a crash loses nothing.
//! Knows nothing of what is in them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The largest file that is read, in octets. An RSA-8192 key in PEM takes less than 8 KiB; PEM files may hold comments.
pub const MAXIMUM_LENGTH: usize = 65_536;

/// Reads a file that holds a secret, of at most [`MAXIMUM_LENGTH`] octets.
///
/// # Errors
/// `Configuration` naming the file: it cannot be read, it is not a regular file, it is too long, or its group or others may read
/// or write it (with the command that corrects that).
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: std::io::Error| {
        Error::configuration(format!("the file `{}` cannot be read: {error}", path.display())).with_source(error)
    };
    let file = File::open(path).map_err(failed)?;
    // The open file is asked, not the path: it cannot be swapped in between.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::configuration(format!("`{}` is not a regular file", path.display())));
    }
    refuse_access_by_others(path, &metadata)?;
    // The whole capacity is taken at once, so that growing leaves no copy of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MAXIMUM_LENGTH + 1));
    file.take(MAXIMUM_LENGTH as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > MAXIMUM_LENGTH {
        return Err(Error::configuration(format!(
            "the file `{}` is longer than {MAXIMUM_LENGTH} octets, too long for a key or a secret",
            path.display()
        )));
    }
    Ok(content)
}

/// Writes a new file with mode 0600. An existing file is never overwritten; the file and its directory are synced before this returns.
///
/// # Errors
/// `Configuration` naming the file when it exists or cannot be written; a file begun is removed again.
pub fn create(path: &Path, content: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Error::configuration(format!("the file `{}` exists already and is not overwritten", path.display()))
        } else {
            Error::configuration(format!("the file `{}` cannot be created: {error}", path.display())).with_source(error)
        }
    })?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| sync_directory_of(path));
    written.map_err(|error| {
        let left_over = match std::fs::remove_file(path) {
            Ok(()) => String::new(),
            Err(removal) => format!("; what was written of it cannot be removed: {removal}"),
        };
        Error::configuration(format!("the file `{}` cannot be written: {error}{left_over}", path.display()))
            .with_source(error)
    })
}

/// Makes the directory entry durable: syncing a file does not sync the name under which it is found.
fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(unix)]
fn refuse_access_by_others(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "the file `{path}` holds a secret, but its mode {mode:04o} lets its group or others at it; make it private with `chmod 600 {path}`",
        path = path.display()
    )))
}

#[cfg(not(unix))]
fn refuse_access_by_others(_path: &Path, _metadata: &std::fs::Metadata) -> Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_file_is_created_for_its_owner_only_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, b"content").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().as_slice(), b"content");
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, b"first").unwrap();
        let error = create(&path, b"second").unwrap_err();
        assert_eq!(error.detail(), format!("the file `{}` exists already and is not overwritten", path.display()));
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_dangling_link_is_not_followed_when_creating() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("target"), &path).unwrap();
        assert!(create(&path, b"content").is_err());
        assert!(!directory.path().join("target").exists());
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused_with_the_fix() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, b"content").unwrap();
        for mode in [0o640, 0o604, 0o660, 0o602, 0o644, 0o610] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(
                error.detail(),
                format!(
                    "the file `{0}` holds a secret, but its mode {mode:04o} lets its group or others at it; make it private with `chmod 600 {0}`",
                    path.display()
                )
            );
        }
        for mode in [0o400, 0o600, 0o700] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(read(&path).is_ok(), "mode {mode:o}");
        }
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap_err().detail().ends_with("is not a regular file"));
        assert!(read(&directory.path().join("absent")).unwrap_err().detail().contains("cannot be read"));
        let path = directory.path().join("long");
        create(&path, &vec![b'a'; MAXIMUM_LENGTH]).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAXIMUM_LENGTH);
        let path = directory.path().join("longer");
        create(&path, &vec![b'a'; MAXIMUM_LENGTH + 1]).unwrap();
        assert!(read(&path).unwrap_err().detail().contains("is longer than 65536 octets"));
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent").join("secret");
        assert!(create(&path, b"content").unwrap_err().detail().contains("cannot be created"));
    }
}
