//! The objects of ACME as JSON (RFC 8555, section 7.1): made from the core's values, never read.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::addresses::Addresses;
use crate::ca::acme::renewal::RenewalInformation;
use crate::ca::acme::{
    Account, Acme, AcmeCaller, AuthorizationStatus, AuthorizationView, ChallengeStatus, ChallengeView, OrderStatus,
    OrderView,
};
use crate::error::{Error, Result};
use crate::http::problem::acme::AcmeProblemDocument;
use crate::policy::acme::ChallengeType;
use crate::policy::acme::dns_persist::account_hash_prefix;
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::storage::AcmeAccountStatus;
use crate::x509::Timestamp;

/// What a directory offers, and where (RFC 8555, section 7.1.1).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcmeDirectory)]
pub struct DirectoryDocument {
    /// Where a nonce is had.
    pub new_nonce: String,
    /// Where an account is made.
    pub new_account: String,
    /// Where an order is made.
    pub new_order: String,
    /// Where an authorization is made ahead of an order.
    pub new_authz: String,
    /// Where a certificate is revoked.
    pub revoke_cert: String,
    /// Where an account gets another key.
    pub key_change: String,
    /// Where renewal information is had; a slash and the identifier of the certificate follow (RFC 9773, section 4.1).
    pub renewal_info: String,
    /// What the addresses of accounts begin with that records of dns-persist-01 hold hashed (draft-ietf-acme-dns-persist, section 4.1); absent when
    /// that challenge is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_hash_prefix: Option<String>,
    /// About the directory.
    pub meta: DirectoryMeta,
}

/// About a directory.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcmeDirectoryMeta)]
pub struct DirectoryMeta {
    /// The terms of service that accounts must agree to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_of_service: Option<String>,
    /// A page about this CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// The names by which CAA records know this CA.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caa_identities: Vec<String>,
    /// Whether accounts need an external account binding.
    pub external_account_required: bool,
    /// The profiles that an order may name, with what each is for (draft-ietf-acme-profiles, section 3).
    pub profiles: BTreeMap<String, String>,
}

impl DirectoryDocument {
    /// Describes a directory: that of a profile, or the default one.
    ///
    /// # Errors
    /// `NotFound` when there is no directory of this name.
    pub(super) fn of(acme: &Acme, addresses: Addresses<'_>, name: Option<&str>) -> Result<Self> {
        let profiles = acme.directory_profiles(name)?.into_iter().collect();
        let settings = acme.settings();
        let persists =
            settings.challenges.contains(&ChallengeType::DnsPersist01) && !settings.issuer_domain_names.is_empty();
        Ok(Self {
            new_nonce: addresses.shared("new-nonce"),
            new_account: addresses.of_directory(name, "new-account"),
            new_order: addresses.of_directory(name, "new-order"),
            new_authz: addresses.of_directory(name, "new-authz"),
            revoke_cert: addresses.shared("revoke-cert"),
            key_change: addresses.shared("key-change"),
            renewal_info: addresses.shared("renewal-info"),
            account_hash_prefix: persists.then(|| account_hash_prefix(&addresses.account(0))),
            meta: DirectoryMeta {
                terms_of_service: settings.terms_of_service.clone(),
                website: settings.website.clone(),
                caa_identities: settings.caa_identities.clone(),
                external_account_required: settings.external_account_required,
                profiles,
            },
        })
    }
}

/// An account (RFC 8555, section 7.1.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcmeAccountObject)]
pub struct AccountDocument {
    /// `valid`, `deactivated` by its holder, or `revoked` by an operator.
    pub status: AcmeAccountStatus,
    /// Addresses of people.
    pub contact: Vec<String>,
    /// Whether terms of service were agreed to; absent when none were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_of_service_agreed: Option<bool>,
    /// The external account binding as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub external_account_binding: Option<Value>,
    /// Where its orders are listed.
    pub orders: String,
}

impl AccountDocument {
    /// Describes an account to its holder.
    ///
    /// # Errors
    /// `Internal` when the stored binding is not JSON.
    pub(super) fn of(account: &Account, addresses: Addresses<'_>) -> Result<Self> {
        let record = &account.record;
        let binding = record.external_account_binding.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            status: record.status,
            contact: record.contacts.clone(),
            terms_of_service_agreed: record.terms_of_service.as_ref().map(|_terms| true),
            external_account_binding: binding
                .map_err(|error| Error::internal("a stored binding is not JSON").with_source(error))?,
            orders: addresses.account_orders(record.id),
        })
    }
}

/// A page of an account's orders (RFC 8555, section 7.1.2.1); the header field `Link` leads to the next.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeOrderList)]
pub struct OrderListDocument {
    /// The addresses of orders that are not invalid, oldest first.
    pub orders: Vec<String>,
}

/// An order (RFC 8555, section 7.1.3).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcmeOrderObject)]
pub struct OrderDocument {
    /// `pending`, `ready`, `processing`, `valid` or `invalid`.
    pub status: OrderStatus,
    /// When it ends to be pending.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// What the certificate holds.
    pub identifiers: Vec<WrittenIdentifier>,
    /// When validity is to start, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// When validity is to end, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    /// The profile (draft-ietf-acme-profiles).
    pub profile: String,
    /// The identifier of the certificate that it replaces (RFC 9773, section 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Why it came to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AcmeProblemDocument>,
    /// The addresses of its authorizations.
    pub authorizations: Vec<String>,
    /// Where the CSR is sent once it is `ready`.
    pub finalize: String,
    /// Where the certificate is fetched; once it is `valid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl OrderDocument {
    /// Describes an order to its account.
    pub(super) fn of(order: &OrderView, addresses: Addresses<'_>) -> Self {
        let record = &order.record;
        let valid = order.status == OrderStatus::Valid;
        Self {
            status: order.status,
            expires: record.expires_at,
            identifiers: record.identifiers.iter().map(crate::policy::acme::Identifier::written).collect(),
            not_before: record.not_before,
            not_after: record.not_after,
            profile: record.profile.clone(),
            replaces: record.replaces.clone(),
            error: record.error.as_ref().map(AcmeProblemDocument::stored),
            authorizations: order.authorizations.iter().map(|one| addresses.authorization(one.id)).collect(),
            finalize: addresses.finalize(record.id),
            certificate: valid.then(|| addresses.certificate(record.id, 0)),
        }
    }
}

/// An authorization (RFC 8555, section 7.1.4).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeAuthorizationObject)]
pub struct AuthorizationDocument {
    /// What control is proven of; for a wildcard without `*.`.
    pub identifier: WrittenIdentifier,
    /// The status.
    pub status: AuthorizationStatus,
    /// When it ends to be pending, or valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// Whether it is for the wildcard; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wildcard: bool,
    /// The ways to prove control; of one that is not pending the one that was taken.
    pub challenges: Vec<ChallengeDocument>,
}

impl AuthorizationDocument {
    /// Describes an authorization to its account.
    pub(super) fn of(view: &AuthorizationView, caller: &AcmeCaller) -> Self {
        let record = &view.record;
        Self {
            identifier: WrittenIdentifier {
                kind: record.identifier.kind().to_owned(),
                value: record.identifier.authorization_value(),
            },
            status: view.status,
            expires: record.expires_at,
            wildcard: record.identifier.is_wildcard(),
            challenges: view.challenges.iter().map(|one| ChallengeDocument::of(one, record.id, caller)).collect(),
        }
    }
}

/// A challenge (RFC 8555, section 7.1.5; RFC 8737; draft-ietf-acme-dns-account-label; draft-ietf-acme-dns-persist).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeChallengeObject)]
pub struct ChallengeDocument {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: ChallengeType,
    /// Where the client says that it has answered it.
    pub url: String,
    /// The status.
    pub status: ChallengeStatus,
    /// 256 random bits, base64url.
    pub token: String,
    /// When it was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub validated: Option<Timestamp>,
    /// Why it was not met, the last time that it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AcmeProblemDocument>,
    /// For dns-persist-01: the names by which the record may know this CA.
    #[serde(rename = "issuer-domain-names", skip_serializing_if = "Option::is_none")]
    pub issuer_domain_names: Option<Vec<String>>,
    /// For dns-persist-01: the account's address as the record has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounturi: Option<String>,
}

impl ChallengeDocument {
    /// Describes a challenge of an authorization to its account.
    pub(super) fn of(view: &ChallengeView, authorization: i64, caller: &AcmeCaller) -> Self {
        let persists = view.challenge_type == ChallengeType::DnsPersist01;
        Self {
            kind: view.challenge_type,
            url: Addresses(caller.base_url()).challenge(authorization, view.challenge_type),
            status: view.status,
            token: view.token.clone(),
            validated: view.validated,
            error: view.error.as_ref().map(AcmeProblemDocument::stored),
            issuer_domain_names: persists.then(|| view.issuer_domain_names.clone()),
            accounturi: persists.then(|| caller.account_url()),
        }
    }
}

/// When a certificate is to be renewed (RFC 9773, section 4.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcmeRenewalInformation)]
pub struct RenewalDocument {
    /// The window to renew in, at a random moment.
    pub suggested_window: SuggestedWindow,
    /// A page that says why.
    #[serde(rename = "explanationURL", skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
}

/// A window to renew in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeSuggestedWindow)]
pub struct SuggestedWindow {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// Its end, after its begin.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
}

impl From<RenewalInformation> for RenewalDocument {
    fn from(information: RenewalInformation) -> Self {
        Self {
            suggested_window: SuggestedWindow { start: information.start, end: information.end },
            explanation_url: information.explanation_url,
        }
    }
}
