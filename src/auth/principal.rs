//! Principals: who a caller is once its credential has been checked, with its role and grants.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::policy::Grants;

/// A bundle of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May do everything.
    Administrator,
    /// Issues, reads, revokes and releases for others; reads issuers and profiles; publishes CRLs.
    Operator,
    /// Issues within its grants; reads, renews and revokes its own certificates.
    Requester,
    /// Reads everything, including the audit log; changes nothing.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::Operator, Self::Requester, Self::Auditor];

    /// Returns the role's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::Requester => "requester",
            Self::Auditor => "auditor",
        }
    }
}

impl FromStr for Role {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Error::malformed(format!(
                "`{text}` is not a role; known are administrator, operator, requester and auditor"
            ))
        })
    }
}

/// How a principal proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// An API token.
    ApiToken,
    /// A JSON Web Token (RFC 7519).
    Jwt,
    /// A TLS client certificate.
    ClientCertificate,
    /// The key of an ACME account.
    AcmeAccount,
    /// The service itself, or somebody at its command line.
    Internal,
}

/// Somebody whose credential was checked.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The unique name: `token:<name>`, `jwt:<provider>:<subject>`, `certificate:<rule>:<name>`, `system`.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The grants.
    pub grants: Grants,
    /// How it was proven.
    pub method: Method,
}

/// A principal with where its request came from, for the audit log.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Arc<Principal>,
    /// The client's address, if the request came over the network.
    pub remote_address: Option<String>,
    /// The request id, if the request came over the network.
    pub request_id: Option<String>,
}

impl Caller {
    /// Returns the service itself, for jobs and for its own certificates.
    #[must_use]
    pub fn system() -> Arc<Self> {
        Self::internal("system")
    }

    /// Returns somebody inside the process with every permission, such as `command-line`.
    #[must_use]
    pub fn internal(name: &str) -> Arc<Self> {
        let principal = Principal {
            name: name.to_owned(),
            role: Role::Administrator,
            grants: Grants::unrestricted(),
            method: Method::Internal,
        };
        Arc::new(Self { principal: Arc::new(principal), remote_address: None, request_id: None })
    }
}
