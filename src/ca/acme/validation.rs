//! What the core asks of whoever looks at challenges: the trait [`ChallengeValidator`] and its values. The network is in `validation/`.

use async_trait::async_trait;

use crate::error::{AcmeErrorType, AcmeSubproblem};
use crate::policy::acme::{ChallengeType, Identifier};

/// One look at a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationAttempt {
    /// What is to be proven.
    pub identifier: Identifier,
    /// How.
    pub challenge: ChallengeType,
    /// The token.
    pub token: String,
    /// The key authorization with the account key of the moment the challenge was answered (RFC 8555, section 8.1).
    pub key_authorization: String,
    /// The account's address, as the client knows it.
    pub account_url: String,
}

/// A proof that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// What was contacted or read, for the audit log: addresses, names of records.
    pub evidence: Vec<String>,
    /// When the proof ends by its own words (dns-persist-01, `persistUntil`), in Unix seconds.
    pub until: Option<i64>,
}

/// Why a proof was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationFailure {
    /// The type: connection, dns, tls, unauthorized, incorrectResponse, caa, malformed or serverInternal.
    pub error_type: AcmeErrorType,
    /// What was met and what was expected, for client and operator; nothing that a remote host sent stands in it but numbers, addresses and
    /// names in safe characters, cut short.
    pub detail: String,
    /// Whether another look cannot help, such as when the address is one that may not be contacted.
    pub is_final: bool,
}

impl ValidationFailure {
    /// Makes a failure that another look may help against.
    pub fn new(error_type: AcmeErrorType, detail: impl Into<String>) -> Self {
        Self { error_type, detail: detail.into(), is_final: false }
    }

    /// Says that another look cannot help.
    #[must_use]
    pub const fn into_final(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Returns the problem as it stands in challenges and orders.
    #[must_use]
    pub fn subproblem(&self, identifier: &Identifier) -> AcmeSubproblem {
        AcmeSubproblem {
            error_type: self.error_type.token().to_owned(),
            detail: self.detail.clone(),
            identifier_type: identifier.kind().to_owned(),
            identifier: identifier.authorization_value(),
        }
    }
}

/// A question to the CAA records of a name (RFC 8659, RFC 8657).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaQuestion {
    /// The name that a certificate is asked for.
    pub identifier: Identifier,
    /// How control of it was proven; `None` when an external account binding did.
    pub challenge: Option<ChallengeType>,
    /// The account's address.
    pub account_url: String,
}

/// Looks at challenges.
#[async_trait]
pub trait ChallengeValidator: Send + Sync + std::fmt::Debug {
    /// Looks whether a challenge is met now. Ends within a bound that the settings give.
    async fn validate(&self, attempt: &ValidationAttempt) -> Result<Validated, ValidationFailure>;

    /// Asks whether CAA records admit issuance; they do where they are not looked at by configuration, and for addresses.
    async fn check_caa(&self, question: &CaaQuestion) -> Result<(), ValidationFailure>;
}
