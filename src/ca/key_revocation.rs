//! Revokes a key: whoever proves to have it says that it must not be believed any more. Its certificates are revoked as compromised, those
//! of every issuer and requester, and no certificate is issued for it again.
//!
//! A certificate signing request proves possession, but it is no secret: it lies in tickets and repositories. So one that was made to enrol
//! must not do, in the hands of a requester, what its maker never meant. See [`KeyProof::states_the_intent`].

use serde::Deserialize;
use serde_json::json;

use super::CertificateAuthority;
use crate::auth::permission::RevokeCertificates;
use crate::auth::{Authorized, Caller, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    AuditOutcome, CertificateFilter, CertificateStatus, KeyRevocation, KeyRevoked, Page, PageRequest, SortKey,
};
use crate::x509::crl::RevocationReason;
use crate::x509::distinguished_name::AttributeType;
use crate::x509::jws::VerifiedSignature;
use crate::x509::{CertificateRequest, PublicKey, SerialNumber, Timestamp};

/// The audited action.
pub const ACTION: &str = "key.block";

/// The common name, in any case, of a request that was made to revoke. Nothing may follow it: `revoke-service` may be a host.
const INTENT: &str = "revoke";
/// How far the time of a signed statement may be from ours, in seconds.
const STATEMENT_AGE: i64 = 600;
/// How many certificates the answer names.
const LISTED: u16 = 1000;

/// Proof that somebody has a private key.
#[derive(Clone, Debug)]
pub enum KeyProof {
    /// A certificate signing request whose own signature was verified.
    Csr(Box<CertificateRequest>),
    /// A signed statement, see [`Statement`].
    Jws(VerifiedSignature),
}

/// What a signed statement says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// SHA-256 of the subject public key info, or the serial number of a certificate of the key, in hex.
    revoke: String,
    /// When it was signed, in Unix seconds.
    iat: i64,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedKey {
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// Its certificates that are not expired and are revoked as compromised now; at most 1000 with the others.
    pub revoked: Vec<SerialNumber>,
    /// Its certificates that are not expired and had been revoked for another reason, which stays.
    pub already_revoked: Vec<SerialNumber>,
}

impl Statement {
    fn parse(payload: &[u8]) -> Result<Self> {
        let is_object = payload.trim_ascii_start().starts_with(b"{");
        // The decoder would take an array for the members in their order.
        let parsed = if is_object { Some(serde_json::from_slice::<Self>(payload)) } else { None };
        let malformed = || {
            Error::malformed(
                "the payload of the JWS is not the JSON object `{\"revoke\": \"<SHA-256 of the key or serial number, hex>\", \"iat\": <Unix \
                 seconds>}` with these two members",
            )
        };
        parsed.ok_or_else(malformed)?.map_err(|error| malformed().with_source(error))
    }
}

impl KeyProof {
    /// Returns the key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Csr(csr) => csr.public_key(),
            Self::Jws(signature) => signature.public_key(),
        }
    }

    /// Whether it was made to revoke the key: a statement always; a request when its one common name says so and it asks for no names, which
    /// no request does that was made to enrol.
    fn states_the_intent(&self) -> bool {
        match self {
            Self::Jws(_) => true,
            Self::Csr(csr) => {
                let mut names = csr.subject().values(AttributeType::CommonName);
                let says_so = names.next().is_some_and(|name| name.eq_ignore_ascii_case(INTENT));
                csr.requested().names.is_empty() && says_so && names.next().is_none()
            }
        }
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Self::Csr(_) => "csr",
            Self::Jws(_) => "jws",
        }
    }
}

impl CertificateAuthority {
    /// Revokes every certificate of a key that is neither expired nor revoked as `key_compromise`, and blocks the key for ever. Again it
    /// changes nothing and gives the same answer. In commits of 500 certificates each; the key is blocked with the first.
    ///
    /// # Errors
    /// `Forbidden` for a key of the service itself unless the caller is an administrator, and for a request without the intent from a
    /// caller that could not revoke all its certificates anyway; `Malformed` for a statement that says something else, or too long ago.
    pub async fn revoke_key(
        &self,
        authorization: &Authorized<RevokeCertificates>,
        proof: &KeyProof,
    ) -> Result<RevokedKey> {
        let caller = authorization.caller();
        let outcome = self.block_and_revoke(caller, authorization.owner(), proof).await;
        self.audited(caller, ACTION, object(&proof.public_key().spki_sha256()), outcome).await
    }

    async fn block_and_revoke(&self, caller: &Caller, owner: Option<&str>, proof: &KeyProof) -> Result<RevokedKey> {
        let now = self.clock.now();
        let spki_sha256 = proof.public_key().spki_sha256();
        if let KeyProof::Jws(signature) = proof {
            self.check_statement(signature, now).await?;
        }
        let details = json!({ "reason": RevocationReason::KeyCompromise, "key": hex::encode(spki_sha256) });
        let revocation = KeyRevocation {
            spki_sha256,
            now,
            owner: owner.filter(|_owner| !proof.states_the_intent()).map(str::to_owned),
            internal: caller.principal.role == Role::Administrator,
            certificate_event: self.event(caller, "certificate.revoke", AuditOutcome::Success, String::new(), details),
        };
        loop {
            let details = json!({
                "key": hex::encode(spki_sha256),
                "key_algorithm": proof.public_key().algorithm_name(),
                "proof": proof.as_str(),
            });
            let event = self.event(caller, ACTION, AuditOutcome::Success, object(&spki_sha256), details);
            match self.storage.revoke_key(revocation.clone(), event).await? {
                KeyRevoked::Done { blocked_now: _, revoked_now, more } => {
                    self.announce(&revoked_now);
                    if !more {
                        self.refresh_issuers().await;
                        return self.revoked_key(spki_sha256, now).await;
                    }
                }
                KeyRevoked::NotOwned => return Err(no_intent()),
                KeyRevoked::Internal => {
                    return Err(Error::new(
                        ErrorKind::Forbidden,
                        "only an administrator may revoke a key of the service itself",
                    ));
                }
            }
        }
    }

    fn announce(&self, revoked: &[(i32, SerialNumber)]) {
        if revoked.is_empty() {
            return;
        }
        for (issuer_id, serial) in revoked {
            self.forget_status(*issuer_id, serial);
        }
        self.revocation.notify_one();
        let reason = RevocationReason::KeyCompromise.as_str();
        let count = u64::try_from(revoked.len()).unwrap_or(u64::MAX);
        metrics::counter!("chancery_certificates_revoked_total", "reason" => reason).increment(count);
    }

    /// Checks what was signed: that it means this key, and that it was signed just now, so that a statement cannot be kept for later.
    async fn check_statement(&self, signature: &VerifiedSignature, now: Timestamp) -> Result<()> {
        let statement = Statement::parse(signature.payload())?;
        if statement.iat.abs_diff(now.unix()) > STATEMENT_AGE.unsigned_abs() {
            return Err(Error::malformed(format!(
                "the JWS was signed at `{}` by its `iat`, and it is `{}` now; it may be {STATEMENT_AGE} seconds apart",
                statement.iat,
                now.unix()
            )));
        }
        let spki_sha256 = signature.public_key().spki_sha256();
        if hex::decode(&statement.revoke).is_ok_and(|digest| digest == spki_sha256) {
            return Ok(());
        }
        if let Ok(serial) = statement.revoke.parse::<SerialNumber>() {
            let records = self.storage.certificates_by_serial(&serial).await?;
            if records.iter().any(|record| record.spki_sha256 == spki_sha256) {
                return Ok(());
            }
        }
        Err(Error::malformed(format!(
            "`revoke` of the JWS is neither the SHA-256 digest of its key, `{}`, nor the serial number of a certificate of that key",
            hex::encode(spki_sha256)
        )))
    }

    async fn revoked_key(&self, spki_sha256: [u8; 32], now: Timestamp) -> Result<RevokedKey> {
        let filter = CertificateFilter {
            spki_sha256: Some(spki_sha256),
            status: Some(CertificateStatus::Revoked),
            expires_after: Some(now),
            now: Some(now),
            ..CertificateFilter::default()
        };
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let page = PageRequest { limit: LISTED, sort: SortKey::IssuedAt, descending: false, after };
            let Page { items, next } = self.storage.certificates(&filter, page).await?;
            records.extend(items);
            after = next;
            if after.is_none() || records.len() >= usize::from(LISTED) {
                break;
            }
        }
        let (compromised, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| {
            record.revocation.is_some_and(|revocation| revocation.reason == RevocationReason::KeyCompromise)
        });
        Ok(RevokedKey {
            spki_sha256,
            revoked: compromised.into_iter().map(|record| record.serial).collect(),
            already_revoked: others.into_iter().map(|record| record.serial).collect(),
        })
    }
}

/// The same for a key that is another's and for one that nobody has, so that nobody can tell them apart.
fn no_intent() -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!(
            "the certificate signing request does not say that it is meant to revoke the key, and the caller does not own all certificates \
             of the key: its common name must be `{INTENT}` and nothing else, and it must ask for no names; make one with `openssl req -new -key \
             KEY.pem -subj /CN={INTENT}`"
        ),
    )
}

fn object(spki_sha256: &[u8; 32]) -> String {
    format!("key:{}", hex::encode(spki_sha256))
}
