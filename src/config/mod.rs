//! Settings: a TOML file and the environment in, checked values out. Nothing is opened or started here.
//!
//! [`load`] reads the file into a tree that knows where each value was written (`node.rs`), lays environment variables over it
//! (`environment.rs`), reads the tree into the types of the sections (`deserializer.rs`), and checks what types cannot say.

pub mod acme;
pub mod authentication;
pub mod database;
mod deserializer;
mod environment;
mod failure;
pub mod hierarchy;
pub mod keys;
mod node;
pub mod operation;
pub mod pkcs11;
mod read;
pub mod server;
#[cfg(test)]
mod tests;
mod warnings;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

pub use acme::Acme;
pub use authentication::{Authentication, ClientCertificate, Jwt, JwtRule, RoleName};
pub use database::{Database, DatabaseUrl};
pub use hierarchy::{Authority, Hierarchy};
pub use keys::{KeyFile, KeySource, Keys, PreviousKey};
pub use operation::{Crl, Issuers, Limits, Log, LogFormat, Ocsp};
pub use pkcs11::Pkcs11;
pub use server::{Server, Tls};
pub use warnings::check;

use crate::error::{Error, Result};
use crate::policy::{CompiledProfile, Profile};
use crate::storage::DatabaseOptions;
use node::{Node, Value};

/// Every setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory of the database and of the files the service makes.
    pub data_dir: PathBuf,
    /// The address under which relying parties reach the public listener, without a slash at its end: it is written into certificates.
    /// The address really bound if absent.
    pub public_url: Option<String>,
    /// Listeners and the service's own certificate.
    pub server: Server,
    /// The database.
    pub database: Database,
    /// The key-encryption key.
    pub keys: Keys,
    /// The HSMs that keys can be kept in.
    pub pkcs11: Vec<Pkcs11>,
    /// The first CAs.
    pub hierarchy: Hierarchy,
    /// Profiles that are written into the database when they are not there.
    pub profiles: Vec<Profile>,
    /// The profile of requests that name none, where a protocol allows that.
    pub default_profile: Option<String>,
    /// When CRLs are published.
    pub crl: Crl,
    /// Warnings about issuers.
    pub issuers: Issuers,
    /// How OCSP is answered.
    pub ocsp: Ocsp,
    /// What can be had over ACME.
    pub acme: Acme,
    /// Whose credentials are believed.
    pub authentication: Authentication,
    /// The greatest requests.
    pub limits: Limits,
    /// What is logged.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("chancery-data"),
            public_url: None,
            server: Server::default(),
            database: Database::default(),
            keys: Keys::default(),
            pkcs11: Vec::new(),
            hierarchy: Hierarchy::default(),
            profiles: Vec::new(),
            default_profile: None,
            crl: Crl::default(),
            issuers: Issuers::default(),
            ocsp: Ocsp::default(),
            acme: Acme::default(),
            authentication: Authentication::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

/// Loads the settings: those of the file, if there is one, and over them those of the environment.
///
/// # Errors
/// `Configuration`: the file cannot be read or is not TOML; a setting is unknown (naming the nearest), of the wrong type or out of
/// range, saying where it was written; an environment variable or the file it names is not usable.
pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config> {
    load_with(path, environment, std::iter::empty())
}

/// Loads the settings as [`load`] does, with those of the command line over all: paths such as `server.listen` and their values.
///
/// # Errors
/// As [`load`].
pub fn load_with<'a>(
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    command_line: impl Iterator<Item = (&'a str, String)>,
) -> Result<Config> {
    let mut entries = match path {
        Some(path) => read_file(path)?,
        None => Vec::new(),
    };
    for overlay in environment::overlays(environment)? {
        environment::apply(&mut entries, overlay)?;
    }
    for (path, value) in command_line {
        environment::apply(&mut entries, environment::from_command_line(path, value))?;
    }
    let root = Node { origin: failure::Origin::CommandLine, value: Value::Table(entries) };
    let config = Config::deserialize(root)?;
    config.validate()?;
    Ok(config)
}

fn read_file(path: &Path) -> Result<Vec<node::Entry>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Error::configuration(format!("the configuration file `{}` cannot be read: {error}", path.display()))
            .with_source(error)
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok(node::parse_file(&name, &text)?)
}

impl Config {
    /// Returns the address of the database: `chancery.db` in the data directory unless another is given.
    #[must_use]
    pub fn database_url(&self) -> DatabaseUrl {
        self.database.url.clone().unwrap_or_else(|| DatabaseUrl::sqlite(&self.data_dir.join("chancery.db")))
    }

    /// Returns how to reach the database.
    #[must_use]
    pub fn database_options(&self) -> DatabaseOptions {
        DatabaseOptions {
            url: self.database_url().secret().clone(),
            connections: self.database.connections,
            root_certificates: self.database.root_certificates.clone(),
            statement_timeout: self.database.statement_timeout,
            connect_timeout: self.database.connect_timeout,
            maximum_wait: self.database.maximum_wait,
        }
    }

    /// Returns where the key-encryption key comes from: `key-encryption.key` in the data directory unless something else is given.
    #[must_use]
    pub fn key_source(&self) -> KeySource {
        self.keys.source(&self.data_dir)
    }

    /// Returns the file that the key of a CA is kept in: `<name>.key` in the data directory unless another is given; `None` when it is
    /// kept in the database.
    #[must_use]
    pub fn key_file(&self, authority: &Authority) -> Option<PathBuf> {
        match authority.storage {
            hierarchy::KeyStorage::Database | hierarchy::KeyStorage::Pkcs11 => None,
            hierarchy::KeyStorage::File => {
                let default = || self.data_dir.join(format!("{}.key", authority.name));
                Some(authority.file.clone().unwrap_or_else(default))
            }
        }
    }

    /// Checks what types cannot say.
    fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            problems.push("`data_dir` is empty".to_owned());
        }
        if let Some(url) = &self.public_url
            && let Some(problem) = problem_of_public_url(url)
        {
            problems.push(format!("`public_url` {problem}"));
        }
        self.server.validate(&mut problems);
        self.database.validate(&mut problems);
        self.keys.validate(&mut problems);
        for (index, token) in self.pkcs11.iter().enumerate() {
            token.validate(&format!("pkcs11[{index}]"), &mut problems);
        }
        read::distinct(&mut problems, "pkcs11", self.pkcs11.iter().map(|token| token.name.as_str()));
        self.hierarchy.validate(&self.keys, &self.pkcs11, &mut problems);
        self.crl.validate(&mut problems);
        self.issuers.validate(&mut problems);
        self.ocsp.validate(&mut problems);
        self.acme.validate(&mut problems);
        self.authentication.validate(&mut problems);
        self.limits.validate(&mut problems);
        self.log.validate(&mut problems);
        for profile in &self.profiles {
            if let Err(error) = CompiledProfile::compile(profile.clone()) {
                problems.push(error.detail().to_owned());
            }
        }
        read::distinct(&mut problems, "profiles", self.profiles.iter().map(|profile| profile.name.as_str()));
        if let Some(name) = &self.default_profile {
            read::named(&mut problems, "default_profile", name);
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::configuration(format!("the configuration is not valid: {}", problems.join("; "))))
        }
    }
}

/// Certificates carry it for years: what could be read in two ways is refused.
fn problem_of_public_url(text: &str) -> Option<&'static str> {
    let Ok(url) = url::Url::parse(text) else { return Some("is not an absolute URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return Some("must begin with `http://` or `https://`");
    }
    if text.ends_with('/') {
        return Some("must not end with `/`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Some("must not have a `?` or `#` part");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not have a user or a password");
    }
    // The parser corrects and normalises; only what needs neither is taken.
    if url.as_str().trim_end_matches('/') != text {
        return Some(
            "must be in normal form: lower-case scheme and host, no default port, special characters percent-encoded",
        );
    }
    None
}
