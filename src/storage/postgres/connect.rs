//! Connecting to PostgreSQL: the URL, TLS, and the settings that every connection gets.

use std::net::SocketAddr;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, Verification};
use crate::error::{Error, Result};
use crate::storage::{DatabaseOptions, failure};

/// How long an idle peer may be silent before it is probed, and how long sent octets may stay unacknowledged.
const SILENCE: Duration = Duration::from_secs(30);

/// Rows are looked up by their keys, one walk over an index after the other, and no table is ever read: a plan that was made while it was small, or
/// on what the server believes of it, must not do so. What is read all the same, tables of a few rows, costs ten thousand million by that,
/// and PostgreSQL would compile such statements, for ten to eighty milliseconds each time: not so. Migrations go without.
const PLAN_SETTINGS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET jit = off";

/// Makes connections, all alike but for the plans of migrations.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    settings: String,
    limit: Duration,
}

impl std::fmt::Debug for Connector {
    /// Without the configuration, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Finds the addresses that the servers of a URL have now; one whose name cannot be resolved is logged and left out.
pub(in super::super) async fn addresses(options: &DatabaseOptions) -> Result<Vec<SocketAddr>> {
    /// The port of PostgreSQL.
    const PORT: u16 = 5432;
    let config = Connector::new(options)?.config;
    let ports = config.get_ports();
    let port_of = |place: usize| ports.get(place).or_else(|| ports.first()).copied().unwrap_or(PORT);
    let given = config.get_hostaddrs().iter().enumerate();
    let mut found: Vec<SocketAddr> = given.map(|(place, ip)| SocketAddr::new(*ip, port_of(place))).collect();
    for (place, host) in config.get_hosts().iter().enumerate() {
        match host {
            Host::Tcp(name) => match tokio::net::lookup_host((name.as_str(), port_of(place))).await {
                Ok(addresses) => found.extend(addresses),
                Err(error) => tracing::warn!(%error, host = name, "the address of the database could not be found"),
            },
            Host::Unix(_path) => {}
        }
    }
    Ok(found)
}

impl Connector {
    /// Reads the URL and the roots.
    pub(super) fn new(options: &DatabaseOptions) -> Result<Self> {
        // Who names roots wants the server checked against them.
        let default = if options.root_certificates.is_some() { TlsMode::VerifyFull } else { TlsMode::Prefer };
        let (url, mode) = take_tls_mode(options.url.expose_secret(), default)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            Error::configuration(
                "the PostgreSQL URL cannot be read: write `postgres://user:password@host/database` and percent-encode \
                 special characters of the password",
            )
            .with_source(error)
        })?;
        config.ssl_mode(mode.negotiation());
        config.connect_timeout(options.connect_timeout);
        config.keepalives_idle(SILENCE);
        config.tcp_user_timeout(SILENCE);
        if config.get_application_name().is_none() {
            config.application_name("chancery");
        }
        let verification = mode.verification(options.root_certificates.is_some());
        let tls = tls::client_config(verification, options.root_certificates.as_deref())?;
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls),
            settings: settings(options.statement_timeout),
            limit: options.connect_timeout.saturating_add(Duration::from_secs(1)),
        })
    }

    /// Connects for a writer, and drives the connection on a task that ends with it.
    pub(super) async fn client(&self) -> Result<(Client, JoinHandle<()>)> {
        let connecting = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%error, "a connection to PostgreSQL was lost");
                }
            });
            client.batch_execute(&self.settings).await?;
            client.batch_execute(PLAN_SETTINGS).await?;
            Ok::<_, tokio_postgres::Error>((client, driver))
        };
        match tokio::time::timeout(self.limit, connecting).await {
            Ok(connected) => connected.map_err(failure::unavailable),
            Err(elapsed) => Err(failure::unavailable(elapsed)),
        }
    }

    /// Connects for the pool.
    pub(super) async fn pooled(&self) -> Result<AsyncPgConnection> {
        let mut connection = self.diesel().await?;
        let configured = diesel_async::SimpleAsyncConnection::batch_execute(&mut connection, PLAN_SETTINGS);
        match tokio::time::timeout(self.limit, configured).await {
            Ok(configured) => configured.map(|()| connection).map_err(failure::unavailable),
            Err(elapsed) => Err(failure::unavailable(elapsed)),
        }
    }

    /// Connects for diesel.
    pub(super) async fn diesel(&self) -> Result<AsyncPgConnection> {
        let connecting = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(failure::unavailable)?;
            let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection)
                .await
                .map_err(failure::unavailable)?;
            diesel_async::SimpleAsyncConnection::batch_execute(&mut connection, &self.settings).await?;
            Ok(connection)
        };
        match tokio::time::timeout(self.limit, connecting).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(failure::unavailable(elapsed)),
        }
    }
}

/// The settings of a session. A commit is durable even where the server's default is not; the queries are written for READ COMMITTED.
fn settings(statement_timeout: Duration) -> String {
    let milliseconds = statement_timeout.as_millis().clamp(1, 2_147_483_647);
    format!(
        "SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds}; \
         SET idle_in_transaction_session_timeout = {milliseconds}; \
         SET default_transaction_isolation = 'read committed'; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

/// The `sslmode` of the URL, with the meaning that libpq gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    fn negotiation(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }

    fn verification(self, has_roots: bool) -> Verification {
        match self {
            Self::Disable | Self::Prefer => Verification::None,
            Self::Require if has_roots => Verification::Chain,
            Self::Require => Verification::None,
            Self::VerifyCa => Verification::Chain,
            Self::VerifyFull => Verification::Full,
        }
    }
}

/// Takes `sslmode` out of the URL: the client library does not know all of its values.
fn take_tls_mode(url: &str, default: TlsMode) -> Result<(String, TlsMode)> {
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), default)) };
    let mut mode = default;
    let mut others = Vec::new();
    for parameter in query.split('&') {
        match parameter.strip_prefix("sslmode=") {
            None => others.push(parameter),
            Some("disable") => mode = TlsMode::Disable,
            Some("prefer") => mode = TlsMode::Prefer,
            Some("require") => mode = TlsMode::Require,
            Some("verify-ca") => mode = TlsMode::VerifyCa,
            Some("verify-full") => mode = TlsMode::VerifyFull,
            Some(other) => {
                return Err(Error::configuration(format!(
                    "the database URL has `sslmode={other}`: write `disable`, `prefer`, `require`, `verify-ca` or `verify-full`"
                )));
            }
        }
    }
    let url = if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) };
    Ok((url, mode))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_tls_mode_is_taken_out_of_the_url() {
        let cases = [
            ("postgres://h/d", "postgres://h/d", TlsMode::Prefer),
            ("postgres://h/d?sslmode=verify-full", "postgres://h/d", TlsMode::VerifyFull),
            ("postgres://h/d?a=1&sslmode=require&b=2", "postgres://h/d?a=1&b=2", TlsMode::Require),
            ("postgres://h/d?sslmode=verify-ca", "postgres://h/d", TlsMode::VerifyCa),
            ("postgres://h/d?sslmode=disable", "postgres://h/d", TlsMode::Disable),
        ];
        for (url, rest, mode) in cases {
            assert_eq!(take_tls_mode(url, TlsMode::Prefer).unwrap(), (rest.to_owned(), mode));
        }
        assert_eq!(take_tls_mode("postgres://h/d", TlsMode::VerifyFull).unwrap().1, TlsMode::VerifyFull);
        assert!(
            take_tls_mode("postgres://h/d?sslmode=allow", TlsMode::Prefer)
                .unwrap_err()
                .detail()
                .contains("`sslmode=allow`")
        );
    }

    #[test]
    fn roots_make_require_verify_the_chain() {
        assert_eq!(TlsMode::Require.verification(false), Verification::None);
        assert_eq!(TlsMode::Require.verification(true), Verification::Chain);
        assert_eq!(TlsMode::VerifyFull.verification(false), Verification::Full);
    }
}
