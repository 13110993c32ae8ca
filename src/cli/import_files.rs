//! The files of a CA that is imported: found below a directory within bounds, and handed to the readers of `ca/import/`.
//!
//! Symbolic links below the directory are not followed: `openssl rehash` makes one for each certificate, and a loop would have no end.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::ca::import::findings::Collector;
use crate::error::{Error, Result};

/// The longest file that is read, in octets: a CRL or a bundle of a large CA.
const MAXIMUM_LENGTH: u64 = 256 << 20;
/// The most files below a directory.
const MAXIMUM_FILES: usize = 2_000_000;
/// How deep directories are looked into.
const MAXIMUM_DEPTH: usize = 16;

/// Files below a directory, in the order of their names.
pub(super) struct Files {
    files: Vec<PathBuf>,
    /// What was passed over, and why.
    skipped: Vec<(PathBuf, &'static str)>,
}

impl Files {
    /// Finds every file below a directory; the path itself may be a file, or a link to either.
    pub(super) fn below(path: &Path) -> Result<Self> {
        let mut found = Self { files: Vec::new(), skipped: Vec::new() };
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, error))?;
        if metadata.is_dir() {
            found.walk(path, 0)?;
        } else {
            found.files.push(path.to_owned());
        }
        Ok(found)
    }

    fn walk(&mut self, directory: &Path, depth: usize) -> Result<()> {
        if depth > MAXIMUM_DEPTH {
            self.skipped.push((directory.to_owned(), "it is too deep below the directory that was given"));
            return Ok(());
        }
        let entries = fs::read_dir(directory).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let mut entries = entries.map_err(|error| unreadable(directory, error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            // The type of the entry itself: a link is not followed.
            let kind = entry.file_type().map_err(|error| unreadable(&path, error))?;
            if kind.is_dir() {
                self.walk(&path, depth + 1)?;
            } else if kind.is_file() {
                if self.files.len() >= MAXIMUM_FILES {
                    return Err(Error::malformed(format!(
                        "there are more than {MAXIMUM_FILES} files below `{}`; import them in parts",
                        directory.display()
                    )));
                }
                self.files.push(path);
            } else if kind.is_symlink() {
                self.skipped.push((path, "it is a symbolic link, which is not followed"));
            } else {
                self.skipped.push((path, "it is not a regular file"));
            }
        }
        Ok(())
    }

    /// Hands the certificates of every file to a collector.
    pub(super) fn add_to(self, collector: &mut Collector<'_>) -> Result<()> {
        for (path, reason) in self.skipped {
            collector.skip(&path.display().to_string(), reason);
        }
        for path in self.files {
            let origin = path.display().to_string();
            match bytes(&path) {
                Ok(content) => {
                    // What is no certificate, an index or a request, has its own reader or none.
                    let _is_one = collector.add_certificates(&origin, &content)?;
                }
                Err(error) => collector.skip(&origin, error.detail()),
            }
        }
        Ok(())
    }
}

/// Reads what `openssl ca` keeps in its directory.
pub(super) fn openssl(directory: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let index = directory.join("index.txt");
    collector.add_openssl_index(&index.display().to_string(), &text(&index)?)?;
    for name in ["newcerts", "certs"] {
        let path = directory.join(name);
        if path.is_dir() {
            Files::below(&path)?.add_to(collector)?;
        }
    }
    let number = directory.join("crlnumber");
    if number.exists() {
        collector.add_openssl_crl_number(&text(&number)?)?;
    }
    for name in ["crl.pem", "crl/crl.pem"] {
        let path = directory.join(name);
        if path.is_file() {
            let added = collector.add_crl(&bytes(&path)?);
            added.map_err(|error| Error::new(error.kind(), format!("`{}`: {error}", path.display())))?;
        }
    }
    Ok(())
}

/// Reads a file within bounds.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| unreadable(path, error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::configuration(format!("`{}` is not a regular file", path.display())));
    }
    let mut content = Vec::new();
    file.take(MAXIMUM_LENGTH + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAXIMUM_LENGTH {
        return Err(Error::configuration(format!("`{}` is longer than {} MiB", path.display(), MAXIMUM_LENGTH >> 20)));
    }
    Ok(content)
}

/// Reads a text, in which names may be in any encoding: they are not looked at.
pub(super) fn text(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(path)?).into_owned())
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::configuration(format!("`{}` cannot be read: {error}", path.display())).with_source(error)
}
