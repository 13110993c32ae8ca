//! What a look at a challenge went through: names, addresses, redirects. It becomes the evidence of a proof and the end of a failure's
//! detail, so everything in it is in safe characters and short.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ca::acme::validation::ValidationFailure;
use crate::error::AcmeErrorType;

/// The most entries that a failure's detail lists.
const MAXIMUM_LISTED: usize = 6;

/// The most addresses of one name that are written down.
const MAXIMUM_ADDRESSES: usize = 10;

/// The most entries of evidence: far more than a look with ten redirects has, unless a name has very many addresses.
const MAXIMUM_EVIDENCE: usize = 100;

/// What is being waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The DNS.
    #[default]
    Resolving,
    /// A TCP connection.
    Connecting,
    /// A TLS handshake.
    Handshake,
    /// The head of an HTTP answer.
    Head,
    /// The body of an HTTP answer.
    Body,
}

impl Stage {
    const fn awaited(self) -> &'static str {
        match self {
            Self::Resolving => "the DNS",
            Self::Connecting => "the connection",
            Self::Handshake => "the TLS handshake",
            Self::Head => "the head of the HTTP answer",
            Self::Body => "the body of the HTTP answer",
        }
    }
}

/// What a look went through.
#[derive(Debug, Default)]
pub(super) struct Trail {
    stage: Stage,
    evidence: Vec<String>,
    tried: Vec<String>,
}

impl Trail {
    /// Says what is waited for from now on.
    pub(super) const fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Writes down the addresses that a name has.
    pub(super) fn resolved(&mut self, name: &str, addresses: &[IpAddr]) {
        let mut listed: Vec<String> = addresses.iter().take(MAXIMUM_ADDRESSES).map(IpAddr::to_string).collect();
        if addresses.len() > MAXIMUM_ADDRESSES {
            listed.push(format!("{} more", addresses.len().saturating_sub(MAXIMUM_ADDRESSES)));
        }
        self.note(format!("{name} has {}", listed.join(", ")));
    }

    /// Writes down an address that no connection was made to, and why.
    pub(super) fn failed(&mut self, address: SocketAddr, why: &str) {
        self.note(format!("{address}: {why}"));
        self.tried.push(format!("{address} ({why})"));
    }

    /// Writes down an address that a connection was made to.
    pub(super) fn connected(&mut self, address: SocketAddr) {
        self.note(format!("{address}: connected"));
        self.tried.push(address.to_string());
    }

    /// Writes down what was met, in our own words.
    pub(super) fn note(&mut self, what: String) {
        if self.evidence.len() < MAXIMUM_EVIDENCE {
            self.evidence.push(what);
        }
    }

    /// Returns what was gone through.
    pub(super) fn into_evidence(self) -> Vec<String> {
        self.evidence
    }

    /// Makes the failure of a look that took too long.
    pub(super) fn out_of_time(&self, bound: Duration) -> ValidationFailure {
        let error_type = match self.stage {
            Stage::Resolving => AcmeErrorType::Dns,
            Stage::Connecting | Stage::Handshake | Stage::Head | Stage::Body => AcmeErrorType::Connection,
        };
        let seconds = bound.as_secs_f32();
        ValidationFailure::new(
            error_type,
            format!(
                "the look at the challenge took more than {seconds} seconds and was ended while it waited for {}",
                self.stage.awaited()
            ),
        )
    }

    /// Adds the addresses that were tried to a failure.
    pub(super) fn explain(&self, mut failure: ValidationFailure) -> ValidationFailure {
        if !self.tried.is_empty() {
            let listed = self.tried.get(..MAXIMUM_LISTED).unwrap_or(&self.tried).join(", ");
            let more = match self.tried.len().saturating_sub(MAXIMUM_LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            failure.detail.push_str(&format!("; addresses tried: {listed}{more}"));
        }
        failure
    }
}
