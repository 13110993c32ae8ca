//! The `[database]` section: which database, and how it is reached. Connections are made in `storage/`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::read;
use crate::error::{Error, Result};
use crate::policy::duration;

/// Which database, and how it is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// The database; `chancery.db` in the data directory if absent.
    pub url: Option<DatabaseUrl>,
    /// The most connections for reading and single writes.
    pub connections: usize,
    /// PEM roots for TLS to PostgreSQL; the system's if absent.
    pub root_certificates: Option<PathBuf>,
    /// The longest a statement may take.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// The longest a connection may take to open.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// The longest that an operation waits for a connection, or for its turn to be written.
    #[serde(deserialize_with = "read::short_duration")]
    pub maximum_wait: Duration,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            connections: 8,
            root_certificates: None,
            statement_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            maximum_wait: Duration::from_secs(1),
        }
    }
}

impl Database {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        read::within(problems, "database.connections", self.connections, 1, 1000);
        read::lasting(problems, "database.statement_timeout", self.statement_timeout, 1, 3600);
        read::lasting(problems, "database.connect_timeout", self.connect_timeout, 1, 300);
        read::shortly(problems, "database.maximum_wait", self.maximum_wait, 100, 60_000);
        let is_postgres = self.url.as_ref().is_some_and(|url| matches!(url.backend, Backend::Postgres { .. }));
        if self.root_certificates.is_some() && !is_postgres {
            problems.push("`database.root_certificates` has no use without a PostgreSQL `database.url`".to_owned());
        }
    }
}

/// The address of a database: `sqlite://path`, `postgres://...` or `postgresql://...`. It may hold a password, which is never shown.
#[derive(Clone)]
pub struct DatabaseUrl {
    url: SecretString,
    backend: Backend,
}

/// The kind of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// PostgreSQL.
    Postgres {
        /// Scheme, user, hosts and database, without password and options.
        shown: String,
        /// Whether the connection is encrypted, and whether the server proves who it is.
        tls: PostgresTls,
    },
}

/// The `sslmode` of a PostgreSQL address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can; the default.
    Prefer,
    /// Encrypted; the server is not authenticated.
    Require,
    /// Encrypted, and the server's certificate must chain to a root and bear the host's name.
    VerifyFull,
}

impl DatabaseUrl {
    /// Returns the address of the SQLite database in a file.
    #[must_use]
    pub fn sqlite(path: &Path) -> Self {
        Self {
            url: SecretString::from(format!("sqlite://{}", path.display())),
            backend: Backend::Sqlite(path.to_owned()),
        }
    }

    /// Returns the address as it was written, password included.
    #[must_use]
    pub const fn secret(&self) -> &SecretString {
        &self.url
    }

    /// Returns what kind of database it is.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }
}

/// Without password and options.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Backend::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Backend::Postgres { shown, .. } => f.write_str(shown),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url.expose_secret() == other.url.expose_secret()
    }
}

/// The refusals never show the text: a password may be anywhere in it.
impl FromStr for DatabaseUrl {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let refused = |detail: &str| Error::configuration(detail);
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(refused("an address of a database has no white space"));
        }
        if let Some(rest) = text.strip_prefix("sqlite:") {
            if rest.contains(":memory:") {
                return Err(refused(
                    "SQLite in memory is refused: a CA must not forget what it issued; write `sqlite://path`",
                ));
            }
            let path = rest.strip_prefix("//").filter(|path| !path.is_empty() && !path.ends_with('/'));
            let path = path.ok_or_else(|| refused("write the path of the SQLite file as `sqlite://path`"))?;
            if path.contains(['?', '#']) {
                return Err(refused("an SQLite address has no options: `?` and `#` are refused"));
            }
            if !cfg!(feature = "sqlite") {
                return Err(refused("this program was built without SQLite"));
            }
            return Ok(Self::sqlite(Path::new(path)));
        }
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| {
            refused("an address of a database begins with `sqlite://`, `postgres://` or `postgresql://`")
        })?;
        if !cfg!(feature = "postgres") {
            return Err(refused("this program was built without PostgreSQL"));
        }
        let backend = parse_postgres(rest)?;
        Ok(Self { url: SecretString::from(text), backend })
    }
}

/// Reads what follows the scheme: `user:password@host:port,host:port/database?option=value`.
fn parse_postgres(rest: &str) -> Result<Backend> {
    let (location, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut tls = PostgresTls::Prefer;
    let mut host_option = false;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sslmode", "disable")) => tls = PostgresTls::Disable,
            Some(("sslmode", "prefer")) => tls = PostgresTls::Prefer,
            Some(("sslmode", "require")) => tls = PostgresTls::Require,
            Some(("sslmode", "verify-full")) => tls = PostgresTls::VerifyFull,
            Some(("sslmode", _)) => {
                return Err(Error::configuration(
                    "the `sslmode` of PostgreSQL must be `disable`, `prefer`, `require` or `verify-full`",
                ));
            }
            Some(("host", _)) => host_option = true,
            Some(_) => {}
            None => return Err(Error::configuration("the options of a PostgreSQL address are `name=value`")),
        }
    }
    // A password may hold `@` or `/` only when percent-encoded; the last `@` is taken so that a slip does not show half of it.
    let (user, hosts_and_database) =
        location.rsplit_once('@').map_or((None, location), |(user, hosts)| (Some(user), hosts));
    let hosts = hosts_and_database.split('/').next().unwrap_or_default();
    if hosts.is_empty() && !host_option {
        return Err(Error::configuration("the PostgreSQL address names no host"));
    }
    let user = user.map(|user| match user.split_once(':') {
        Some((user, _password)) => format!("{user}:***@"),
        None => format!("{user}@"),
    });
    let shown = format!("postgres://{}{hosts_and_database}", user.unwrap_or_default());
    Ok(Backend::Postgres { shown, tls })
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(D::Error::custom)
    }
}
