//! Key files: which passphrase belongs to which, where new ones go, and what is done about those that are there. Their format is in `file.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::software::SoftwareSigner;
use super::{Signer as _, file, generate};
use crate::error::{Error, Result};
use crate::x509::KeyAlgorithm;

/// The passphrases of key files and the directory of new ones.
#[derive(Debug, Default)]
pub struct KeyFiles {
    /// The directory of files that the service names; made when the first is.
    pub directory: PathBuf,
    /// The passphrase of files that have none of their own.
    pub default_passphrase: Option<SecretString>,
    /// The passphrases of single files, by path.
    pub passphrases: BTreeMap<PathBuf, SecretString>,
}

impl KeyFiles {
    /// Returns the file in which an issuer's key is kept when nobody names one.
    ///
    /// # Errors
    /// `Configuration` when the directory cannot be made or has no absolute path.
    pub fn place(&self, path_name: &str) -> Result<PathBuf> {
        let failed = |error: std::io::Error| {
            let directory = self.directory.display();
            Error::configuration(format!("the directory `{directory}` for key files cannot be used: {error}"))
                .with_source(error)
        };
        let directory = std::path::absolute(&self.directory).map_err(failed)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&directory).map_err(failed)?;
        Ok(directory.join(format!("{path_name}.key")))
    }

    fn passphrase(&self, path: &Path) -> Option<&SecretString> {
        self.passphrases.get(path).or(self.default_passphrase.as_ref())
    }

    fn needed_passphrase(&self, path: &Path) -> Result<&SecretString> {
        self.passphrase(path).ok_or_else(|| {
            Error::configuration(format!(
                "a passphrase is needed for the key file `{}`: set `keys.file_passphrase`, or one for this file in `keys.files` or `hierarchy`",
                path.display()
            ))
        })
    }

    /// Refuses a new file for which there is no passphrase.
    pub(super) fn check_passphrase(&self, path: &Path) -> Result<()> {
        match self.passphrase(path) {
            Some(_) => Ok(()),
            None => Err(Error::conflict(
                "the service has no passphrase for new key files: set `keys.file_passphrase` and start it anew",
            )),
        }
    }

    /// Reads a key file; returns PKCS #8 DER.
    pub(super) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
        // A file that is not encrypted needs no passphrase.
        file::read(path, self.passphrase(path))
    }

    /// Writes a new key file; takes the one that is there, which an attempt that did not get further left behind or an operator made.
    pub(super) fn create(&self, path: &Path, algorithm: KeyAlgorithm) -> Result<SoftwareSigner> {
        let passphrase = self.needed_passphrase(path)?;
        if !path.exists() {
            let pkcs8 = generate::generate_pkcs8(algorithm)?;
            file::write_encrypted(path, &pkcs8, passphrase)?;
            return SoftwareSigner::from_pkcs8_der(&pkcs8);
        }
        let signer = SoftwareSigner::from_pkcs8_der(&file::read(path, Some(passphrase))?)?;
        if signer.public_key().algorithm() != Ok(algorithm) {
            return Err(Error::conflict(format!(
                "the key file `{}` is there and holds another kind of key than `{algorithm}`; move it away, or ask for that kind",
                path.display()
            )));
        }
        Ok(signer)
    }

    /// Writes a key into a new file; a file that is there and holds this very key is taken, which a move that did not get further left
    /// behind.
    pub(super) fn keep(&self, path: &Path, pkcs8: &[u8]) -> Result<()> {
        let passphrase = self.needed_passphrase(path)?;
        if !path.exists() {
            return file::write_encrypted(path, pkcs8, passphrase);
        }
        let there = SoftwareSigner::from_pkcs8_der(&file::read(path, Some(passphrase))?)?;
        if there.public_key() != SoftwareSigner::from_pkcs8_der(pkcs8)?.public_key() {
            return Err(Error::conflict(format!("the file `{}` is there and holds another key", path.display())));
        }
        Ok(())
    }
}
