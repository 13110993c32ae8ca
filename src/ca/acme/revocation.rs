//! Revocation by ACME clients (RFC 8555, section 7.6): by the account that ordered, by one that holds authorizations for every name, and by
//! the certificate's own key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::accounts::KeyCaller;
use super::{Account, Acme, AcmeCaller};
use crate::auth::Caller;
use crate::ca::revocation::{RevocationRequest, object};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::acme::Identifier;
use crate::storage::{CertificateRecord, CertificateState, StateChanged};
use crate::x509::crl::RevocationReason;
use crate::x509::{Certificate, SubjectAltName};

/// The states from which a certificate is revoked.
const OPEN: &[CertificateState] = &[CertificateState::Valid, CertificateState::OnHold];
/// The state from which a certificate is revoked again, by its key, as compromised.
const REVOKED: &[CertificateState] = &[CertificateState::Revoked];

/// The body of revokeCert.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
pub struct RevokeRequest {
    /// The certificate, DER in base64url.
    pub certificate: String,
    /// The reason code (RFC 5280, section 5.3.1).
    pub reason: Option<i64>,
}

/// By what right a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// The account ordered it.
    Ownership,
    /// The account has proven control of every name in it.
    Authorizations,
    /// The request was signed with its key.
    Key,
}

impl Right {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ownership => "account",
            Self::Authorizations => "authorizations",
            Self::Key => "key",
        }
    }

    /// The reasons that may be given. Who has never had the key cannot say that it is compromised, which also blocks it; holds, and what CAs
    /// say of themselves, are for operators.
    const fn reasons(self) -> &'static [RevocationReason] {
        match self {
            Self::Ownership | Self::Key => &[
                RevocationReason::Unspecified,
                RevocationReason::KeyCompromise,
                RevocationReason::AffiliationChanged,
                RevocationReason::Superseded,
                RevocationReason::CessationOfOperation,
            ],
            Self::Authorizations => &[
                RevocationReason::Unspecified,
                RevocationReason::AffiliationChanged,
                RevocationReason::Superseded,
                RevocationReason::CessationOfOperation,
            ],
        }
    }

    /// Reads a reason code; none is `unspecified`.
    fn reason(self, code: Option<i64>) -> Result<RevocationReason> {
        let code = code.unwrap_or_default();
        let allowed = self.reasons();
        allowed.iter().copied().find(|reason| i64::from(reason.code()) == code).ok_or_else(|| {
            let allowed: Vec<String> =
                allowed.iter().map(|reason| format!("{} ({})", reason.code(), reason.as_str())).collect();
            let detail = format!("the reason {code} is not accepted here; accepted are {}", allowed.join(", "));
            Error::acme(AcmeErrorType::BadRevocationReason, detail)
        })
    }
}

impl Acme {
    /// Revokes a certificate for an account: one that it ordered, or one for whose every name the account has proven control.
    ///
    /// # Errors
    /// `malformed`, also for one that has expired; `unauthorized`, `alreadyRevoked`, `badRevocationReason`; `NotFound` for one that was not
    /// issued here; those of the storage.
    pub async fn revoke_by_account(&self, caller: &AcmeCaller, request: RevokeRequest) -> Result<()> {
        let mut subject = String::new();
        let outcome = async {
            let (record, certificate) = self.certificate_of(&request, &mut subject).await?;
            let right = self.right_of(caller, &record, &certificate).await?;
            self.revoke(caller.caller(), &record, right, request.reason).await
        };
        let outcome = outcome.await;
        self.audited(caller.caller(), "certificate.revoke", subject, outcome).await
    }

    /// Revokes a certificate for whoever has its key. One that is revoked for another reason becomes compromised if that is the reason now.
    ///
    /// # Errors
    /// As for accounts; `unauthorized` when the request was signed with another key.
    pub async fn revoke_by_key(&self, caller: &KeyCaller, request: RevokeRequest) -> Result<()> {
        let mut subject = String::new();
        let outcome = async {
            let (record, certificate) = self.certificate_of(&request, &mut subject).await?;
            if caller.key().public_key().spki_der() != certificate.public_key.spki_der() {
                return Err(Error::acme(
                    AcmeErrorType::Unauthorized,
                    "the request was signed with another key than the certificate's; sign it with that key, or for an account",
                ));
            }
            self.revoke(caller.caller(), &record, Right::Key, request.reason).await
        };
        let outcome = outcome.await;
        self.audited(caller.caller(), "certificate.revoke", subject, outcome).await
    }

    /// Finds the certificate of a request, and writes what it is to the audit log into `subject`. The whole certificate is compared: one of
    /// another CA with the same serial number is not ours.
    async fn certificate_of(
        &self,
        request: &RevokeRequest,
        subject: &mut String,
    ) -> Result<(CertificateRecord, Certificate)> {
        let der = URL_SAFE_NO_PAD.decode(&request.certificate).map_err(|error| {
            Error::malformed("`certificate` is not in base64url without padding").with_source(error)
        })?;
        let certificate = Certificate::from_der(&der)?;
        *subject = object(&certificate.serial);
        let records = self.ca.storage.certificates_by_serial(&certificate.serial).await?;
        let record = records.into_iter().find(|record| record.der == der);
        let record = record.ok_or_else(|| Error::not_found("the certificate was not issued by this CA"))?;
        Ok((record, certificate))
    }

    async fn right_of(
        &self,
        caller: &AcmeCaller,
        record: &CertificateRecord,
        certificate: &Certificate,
    ) -> Result<Right> {
        let account = caller.account();
        if self.has_ordered(account, record).await? {
            return Ok(Right::Ownership);
        }
        let identifiers: Option<Vec<Identifier>> = certificate.names.iter().map(identifier).collect();
        if let Some(identifiers) = identifiers.filter(|identifiers| !identifiers.is_empty())
            && self.has_proven(account.record.id, &identifiers).await?
        {
            return Ok(Right::Authorizations);
        }
        Err(Error::acme(
            AcmeErrorType::Unauthorized,
            "the certificate was not ordered by this account, nor does the account hold a valid authorization for each of its names",
        ))
    }

    /// Whether a certificate came of an order of the account. That they have the same principal is not enough: an external account key hands out
    /// orders within its grants, not power over what its principal had signed otherwise. And an account that was bound later goes on as the
    /// one that ordered before.
    pub(super) async fn has_ordered(&self, account: &Account, record: &CertificateRecord) -> Result<bool> {
        let order =
            self.ca.storage.acme_order_of_certificate(record.issuer_id, &record.serial, account.record.id).await?;
        Ok(order.is_some())
    }

    /// Whether an account has met a challenge for each identifier. What an external account binding vouches for admits orders, not power over
    /// the certificates of others.
    async fn has_proven(&self, account: i64, identifiers: &[Identifier]) -> Result<bool> {
        let now = self.ca.clock.now();
        let valid = self.ca.storage.valid_acme_authorizations(account, identifiers, now).await?;
        Ok(identifiers
            .iter()
            .all(|wanted| valid.iter().any(|one| one.identifier == *wanted && one.challenge.is_some())))
    }

    async fn revoke(
        &self,
        caller: &Caller,
        record: &CertificateRecord,
        right: Right,
        reason: Option<i64>,
    ) -> Result<()> {
        let reason = right.reason(reason)?;
        if self.ca.is_own(record) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "only an administrator may revoke the service's own certificates, and not over ACME",
            ));
        }
        if record.not_after < self.ca.clock.now() {
            return Err(Error::malformed("the certificate has expired; nobody needs to be told that it is revoked"));
        }
        let from = match (record.state, right, reason) {
            (CertificateState::Valid | CertificateState::OnHold, _, _) => OPEN,
            (CertificateState::Revoked, Right::Key, RevocationReason::KeyCompromise)
                if record.revocation.is_none_or(|earlier| earlier.reason != RevocationReason::KeyCompromise) =>
            {
                REVOKED
            }
            (CertificateState::Revoked, _, _) => return Err(already_revoked()),
        };
        let details = json!({ "reason": reason, "invalidity_date": null, "by": right.as_str() });
        let request = RevocationRequest { reason, invalidity_date: None };
        match self.ca.change_to_revoked(caller, None, record, request, from, details).await? {
            StateChanged::Changed(_) => Ok(()),
            StateChanged::Unchanged(_) => Err(already_revoked()),
            StateChanged::NotFound => Err(Error::not_found("the certificate was not issued by this CA")),
        }
    }
}

/// Returns the identifier that an order writes for a name; `None` for a name that ACME does not prove.
pub(super) fn identifier(name: &SubjectAltName) -> Option<Identifier> {
    match name {
        SubjectAltName::Dns(_) => {
            let text = name.value();
            Some(match text.strip_prefix("*.") {
                Some(rest) => Identifier::Dns { name: rest.to_owned(), wildcard: true },
                None => Identifier::Dns { name: text, wildcard: false },
            })
        }
        SubjectAltName::Ip(address) => Some(Identifier::Ip(*address)),
        SubjectAltName::Uri(_) | SubjectAltName::Email(_) => None,
    }
}

fn already_revoked() -> Error {
    Error::acme(AcmeErrorType::AlreadyRevoked, "the certificate is revoked already")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::x509::NameType;

    #[test]
    fn reasons_are_taken_by_what_the_caller_can_know() {
        for right in [Right::Ownership, Right::Key] {
            for (code, reason) in [
                (None, RevocationReason::Unspecified),
                (Some(0), RevocationReason::Unspecified),
                (Some(1), RevocationReason::KeyCompromise),
                (Some(3), RevocationReason::AffiliationChanged),
                (Some(4), RevocationReason::Superseded),
                (Some(5), RevocationReason::CessationOfOperation),
            ] {
                assert_eq!(right.reason(code).unwrap(), reason);
            }
        }
        for right in [Right::Ownership, Right::Key, Right::Authorizations] {
            for code in [2, 6, 7, 8, 9, 10, 11, 256, 257, -1, i64::MAX, i64::MIN] {
                let error = right.reason(Some(code)).unwrap_err();
                assert_eq!(error.acme_token(), "badRevocationReason", "{code}");
                assert!(error.detail().contains("4 (superseded)"), "{}", error.detail());
            }
        }
        assert_eq!(Right::Authorizations.reason(Some(1)).unwrap_err().acme_token(), "badRevocationReason");
        assert_eq!(Right::Authorizations.reason(Some(5)).unwrap(), RevocationReason::CessationOfOperation);
    }

    #[test]
    fn names_turn_into_the_identifiers_that_prove_them() {
        let of = |kind, text: &str| identifier(&SubjectAltName::parse(kind, text).unwrap());
        let dns = |name: &str, wildcard| Some(Identifier::Dns { name: name.to_owned(), wildcard });
        assert_eq!(of(NameType::Dns, "a.internal"), dns("a.internal", false));
        assert_eq!(of(NameType::Dns, "*.a.internal"), dns("a.internal", true));
        assert_eq!(of(NameType::Ip, "fd00::1"), Some(Identifier::Ip("fd00::1".parse().unwrap())));
        assert_eq!(of(NameType::Email, "a@a.internal"), None);
        assert_eq!(of(NameType::Uri, "https://a.internal/"), None);
    }
}
