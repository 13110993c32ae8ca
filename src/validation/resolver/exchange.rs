//! One question to one DNS server: over UDP, over TCP when the answer was cut short, within a bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, system_conf};

use crate::error::{Error, Result};

/// What a server answered.
#[derive(Debug)]
pub(super) struct Reply {
    /// `NoError` or `NXDomain`.
    pub(super) code: ResponseCode,
    /// The answer section.
    pub(super) answers: Vec<Record>,
}

/// Why a server did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It answered with an error.
    Code(ResponseCode),
    /// Nothing came in time.
    Silent,
    /// Nothing could be sent to it, or its connection ended.
    Unreachable,
    /// What came is no DNS message, or answers another question.
    Malformed,
    /// The answer was cut short over TCP too.
    Truncated,
}

impl Trouble {
    /// Whether the same server may answer when it is asked again at once.
    pub(super) const fn may_pass(self) -> bool {
        match self {
            Self::Silent | Self::Unreachable | Self::Malformed => true,
            Self::Code(_) | Self::Truncated => false,
        }
    }
}

/// A server.
pub(super) struct Server {
    address: SocketAddr,
    /// Of this server alone: who is asked next is decided by the resolver, which knows what each one said.
    pool: NameServerPool<TokioRuntimeProvider>,
}

impl Server {
    /// Prepares a server for questions. Sends nothing.
    pub(super) fn new(address: SocketAddr, timeout: Duration) -> Result<Self> {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        let config = NameServerConfig::new(address.ip(), true, connections.into());
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.num_concurrent_reqs = 1;
        // Servers that do not keep the case of a name would have to be asked over TCP each time; the message's random id and port remain.
        options.case_randomization = false;
        let tls = TlsConfig::new().map_err(|error| Error::internal("DNS cannot be set up").with_source(error))?;
        let context = Arc::new(PoolContext::new(options, tls));
        Ok(Self { address, pool: NameServerPool::from_config([config], context, TokioRuntimeProvider::new()) })
    }

    /// Returns where it is.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for the records of a name, within a bound.
    pub(super) async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        limit: Duration,
    ) -> std::result::Result<Reply, Trouble> {
        let query = Query::query(name.clone(), kind);
        let asking = async {
            match self.exchange(&query, true).await {
                // Servers that know no EDNS say so in one of these ways (RFC 6891, section 7).
                Err(Trouble::Code(ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS)) => {
                    self.exchange(&query, false).await
                }
                outcome => outcome,
            }
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Trouble::Silent),
        }
    }

    async fn exchange(&self, query: &Query, edns: bool) -> std::result::Result<Reply, Trouble> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = edns;
        match self.pool.lookup(query.clone(), options).first_answer().await {
            Ok(response) => reply(response, query),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                code @ (ResponseCode::NoError | ResponseCode::NXDomain) => Ok(Reply { code, answers: Vec::new() }),
                code => Err(Trouble::Code(code)),
            },
            Err(error) => Err(trouble(&error)),
        }
    }
}

fn reply(response: DnsResponse, query: &Query) -> std::result::Result<Reply, Trouble> {
    let message = response.into_message();
    // Over UDP this was checked already, over TCP it was not.
    if message.queries.iter().any(|found| found != query) {
        return Err(Trouble::Malformed);
    }
    match message.metadata.response_code {
        code @ (ResponseCode::NoError | ResponseCode::NXDomain) => Ok(Reply { code, answers: message.answers }),
        code => Err(Trouble::Code(code)),
    }
}

fn trouble(error: &NetError) -> Trouble {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => Trouble::Code(*code),
        NetError::Dns(_) | NetError::Proto(_) | NetError::ForeignClassRecord { .. } => Trouble::Malformed,
        NetError::Timeout => Trouble::Silent,
        NetError::Truncated => Trouble::Truncated,
        // The pool gives `NoConnections` for every failure of a socket; the rest belongs to transports that are not used.
        _ => Trouble::Unreachable,
    }
}

/// Returns the servers of the operating system; none when they cannot be found, which is logged.
pub(super) fn system_servers() -> Vec<SocketAddr> {
    match system_conf::read_system_conf() {
        Ok((config, _)) => config
            .name_servers()
            .iter()
            .map(|server| {
                let port = server.connections.first().map_or(super::PORT, |connection| connection.port);
                SocketAddr::new(server.ip, port)
            })
            .take(super::MAXIMUM_SERVERS)
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the system's DNS servers could not be read; give `resolvers` in `[acme]`");
            Vec::new()
        }
    }
}
