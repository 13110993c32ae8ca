//! Profiles: what a kind of certificate may contain, as written in `chancery.toml` and sent over the API, and their compiled form.
//!
//! What makes a document valid is in `profile/validation.rs`, the profiles of a first start in `profile/defaults.rs`.

mod defaults;
mod validation;

use std::collections::BTreeMap;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::duration;
use super::names::{NameRules, NameSections};
use crate::error::{Error, Result};
use crate::x509::distinguished_name::AttributeType;
use crate::x509::{ExtendedKeyUsage, KeyAlgorithm, KeyUsage, NameConstraints, NameConstraintsDocument};

pub use defaults::defaults;

/// A profile document (see `../shared/design/api.md`, "Profiles"). Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
    #[schema(example = "server")]
    pub name: String,
    /// What it is for, shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The issuer that signs unless the request names another that is allowed; the default issuer if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "issuing")]
    pub issuer: Option<String>,
    /// Further issuers that a request may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_issuers: Vec<String>,
    /// How long certificates are valid.
    #[serde(default)]
    pub validity: Validity,
    /// The keys that are certified.
    #[serde(default = "default_keys")]
    #[schema(value_type = Vec<String>, example = json!(["ecdsa-p256", "ed25519", "rsa-2048"]))]
    pub keys: Vec<KeyAlgorithm>,
    /// The key usages written; `key_encipherment` is added for RSA keys when `digital_signature` is here, and what a key cannot
    /// do is left out for it (`key_encipherment` for EC keys: RFC 8813, section 3).
    #[serde(default = "default_key_usage")]
    pub key_usage: Vec<KeyUsage>,
    /// The extended key usages written and allowed.
    #[serde(default)]
    pub extended_key_usage: ExtendedKeyUsageRule,
    /// What the subject may hold.
    #[serde(default)]
    pub subject: SubjectRule,
    /// Whether a common name must also be a subject alternative name.
    #[serde(default)]
    pub common_name_in_names: bool,
    /// Whether at least one subject alternative name is needed.
    #[serde(default)]
    pub names_required: bool,
    /// Certificate policy identifiers written into each certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["2.23.140.1.2.1"]))]
    pub certificate_policies: Vec<String>,
    /// DNS names; without this section they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSection>,
    /// IP addresses; without this section they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<NameSection>,
    /// URIs; without this section they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<NameSection>,
    /// E-mail addresses; without this section they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<NameSection>,
    /// CSR extensions (dotted identifiers) that are left out of the certificate instead of refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_extensions: Vec<String>,
    /// OCSP must-staple (RFC 7633): `forbidden` refuses a CSR that asks for it, `allowed` honours it, `required` always writes it.
    #[serde(default)]
    pub must_staple: MustStaple,
    /// Whether a renewal without a new CSR may certify the same key again.
    #[serde(default = "yes")]
    pub renew_same_key: bool,
    /// Whether the service may make the key (`POST /certificates/generate`).
    #[serde(default)]
    pub server_generated_keys: bool,
    /// Makes this a profile for the certificates of CAs; without this section a request for one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<CertificateAuthorityRule>,
}

/// The certificates of CAs below one of our issuers, whose keys others keep.
///
/// Only administrators may use such a profile, and callers whose grants name both it and the issuer. It needs
/// `key_usage = ["key_cert_sign", "crl_sign"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateAuthorityRule {
    /// How many CA certificates may follow below such a CA, at most: with 0, the default, it signs no CAs. A CSR may ask for less.
    #[schema(example = 0)]
    pub path_length: u8,
    /// Name constraints written into the certificate (RFC 5280, section 4.2.1.10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_constraints: Option<NameConstraintsDocument>,
}

/// Whether certificates ask for OCSP must-staple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MustStaple {
    /// A request for it is refused.
    #[default]
    Forbidden,
    /// Written when asked for.
    Allowed,
    /// Always written.
    Required,
}

/// How long certificates are valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validity {
    /// The length when the request states none.
    #[serde(with = "duration")]
    #[schema(value_type = String, default = "90d", example = "90d")]
    pub default: Duration,
    /// The greatest length.
    #[serde(with = "duration")]
    #[schema(value_type = String, default = "398d", example = "398d")]
    pub maximum: Duration,
    /// The least length.
    #[serde(with = "duration")]
    #[schema(value_type = String, default = "5m", example = "5m")]
    pub minimum: Duration,
    /// How far before the present validity starts, for clocks that are behind.
    #[serde(with = "duration")]
    #[schema(value_type = String, default = "5m", example = "5m")]
    pub backdate: Duration,
    /// What happens when the certificate would outlive its issuer.
    pub beyond_issuer: BeyondIssuer,
}

impl Default for Validity {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            default: Duration::from_secs(90 * DAY),
            maximum: Duration::from_secs(398 * DAY),
            minimum: Duration::from_secs(300),
            backdate: Duration::from_secs(300),
            beyond_issuer: BeyondIssuer::Refuse,
        }
    }
}

/// What happens when a certificate would outlive its issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BeyondIssuer {
    /// The request is refused.
    #[default]
    Refuse,
    /// The certificate ends with its issuer.
    Truncate,
}

/// Extended key usages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtendedKeyUsageRule {
    /// Written into every certificate.
    #[schema(value_type = Vec<String>, example = json!(["server_auth"]))]
    pub required: Vec<ExtendedKeyUsage>,
    /// Admitted when a CSR asks for them; the required ones always are.
    #[schema(value_type = Vec<String>, example = json!(["server_auth", "client_auth"]))]
    pub allowed: Vec<ExtendedKeyUsage>,
}

/// The subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubjectRule {
    /// Whether a common name is needed, may be there, or must not.
    pub common_name: Presence,
    /// The attributes that may be there beside the common name.
    pub allowed: Vec<AttributeType>,
    /// Attributes written into every certificate; a request with another value is refused.
    pub fixed: BTreeMap<AttributeType, String>,
}

impl Default for SubjectRule {
    fn default() -> Self {
        Self { common_name: Presence::Optional, allowed: Vec::new(), fixed: BTreeMap::new() }
    }
}

/// Whether something must, may or must not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It must be there.
    Required,
    /// It may be there.
    Optional,
    /// It must not be there.
    Forbidden,
}

/// Rules for names of one type. For `ip`: CIDR blocks; for `uri`: patterns such as `spiffe://cluster.internal/**` (`*` one path
/// segment, `**` any rest; the scheme and host literal or by the DNS patterns); for `email`: `*@example.com`, `name@example.com`,
/// with the domain by the DNS patterns. `**` alone: any name of the type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NameSection {
    /// Names that may be signed.
    pub allow: Vec<String>,
    /// Names that may not, even if allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The most names of this type in one certificate.
    pub maximum: usize,
}

/// Rules for DNS names: `*` is one label, `**` one or more labels, `**` alone any name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSection {
    /// Names that may be signed.
    #[schema(example = json!(["localhost", "*.svc.example.com", "**.internal"]))]
    pub allow: Vec<String>,
    /// Names that may not, even if allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Whether the certificate itself may hold a wildcard such as `*.internal`.
    pub wildcards: bool,
    /// Whether labels may have underscores.
    pub underscores: bool,
    /// The most DNS names in one certificate.
    pub maximum: usize,
}

/// The most names of one type in one certificate when a section says nothing.
const DEFAULT_MAXIMUM_NAMES: usize = 100;

// The defaults are written by hand: a derived one would allow no name at all.
impl Default for NameSection {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new(), maximum: DEFAULT_MAXIMUM_NAMES }
    }
}

impl Default for DnsSection {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            wildcards: false,
            underscores: false,
            maximum: DEFAULT_MAXIMUM_NAMES,
        }
    }
}

const fn yes() -> bool {
    true
}

fn default_keys() -> Vec<KeyAlgorithm> {
    vec![
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa(2048),
        KeyAlgorithm::Rsa(3072),
        KeyAlgorithm::Rsa(4096),
    ]
}

fn default_key_usage() -> Vec<KeyUsage> {
    vec![KeyUsage::DigitalSignature]
}

impl Profile {
    /// Returns the four sections of name rules.
    #[must_use]
    pub fn sections(&self) -> NameSections {
        NameSections { dns: self.dns.clone(), ip: self.ip.clone(), uri: self.uri.clone(), email: self.email.clone() }
    }
}

/// A profile whose every rule has been checked and prepared for matching. Made once per version and shared.
#[derive(Clone, Debug)]
pub struct CompiledProfile {
    profile: Profile,
    names: NameRules,
    certificate_policies: Vec<ObjectIdentifier>,
    ignore_extensions: Vec<ObjectIdentifier>,
    name_constraints: Option<NameConstraints>,
    rule_prefix: String,
}

impl CompiledProfile {
    /// Checks a profile document and prepares its rules.
    ///
    /// # Errors
    /// `Malformed`, naming the field: a bad name or pattern, a default validity outside minimum and maximum, no key, no usage,
    /// a usage that only a CA has, an identifier that is not one and so on. All that can be found is in the one message.
    pub fn compile(profile: Profile) -> Result<Self> {
        let mut problems = Vec::new();
        validation::check(&profile, &mut problems);
        let names = NameRules::compile_into(&profile.sections(), &mut problems);
        let certificate_policies =
            validation::identifiers("certificate_policies", &profile.certificate_policies, &mut problems);
        let ignore_extensions = validation::identifiers("ignore_extensions", &profile.ignore_extensions, &mut problems);
        validation::check_ignored(&ignore_extensions, &mut problems);
        let constraints = profile.certificate_authority.as_ref().and_then(|rule| rule.name_constraints.as_ref());
        let name_constraints =
            constraints.map(|document| document.compile_into("certificate_authority.name_constraints", &mut problems));
        if !problems.is_empty() {
            return Err(Error::malformed(format!(
                "the profile `{}` is not valid: {}",
                super::shown(&profile.name),
                problems.join("; ")
            )));
        }
        let rule_prefix = format!("profiles.{}", profile.name);
        Ok(Self { profile, names, certificate_policies, ignore_extensions, name_constraints, rule_prefix })
    }

    /// Returns the document.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns the prepared rules for names.
    #[must_use]
    pub const fn names(&self) -> &NameRules {
        &self.names
    }

    /// Returns the certificate policies written into each certificate.
    #[must_use]
    pub fn certificate_policies(&self) -> &[ObjectIdentifier] {
        &self.certificate_policies
    }

    /// Returns the name constraints written into the certificates of CAs.
    #[must_use]
    pub const fn name_constraints(&self) -> Option<&NameConstraints> {
        self.name_constraints.as_ref()
    }

    /// Whether a CSR's extension of this kind is left out of the certificate instead of refused.
    #[must_use]
    pub fn ignores_extension(&self, oid: &ObjectIdentifier) -> bool {
        self.ignore_extensions.contains(oid)
    }

    /// Returns the name of the profile as violations have it: `profiles.server`.
    pub(super) fn rule_prefix(&self) -> &str {
        &self.rule_prefix
    }

    /// Returns the full name of a setting, as violations have it: `profiles.server.keys`.
    pub(super) fn rule(&self, setting: &str) -> String {
        format!("{}.{setting}", self.rule_prefix)
    }
}

#[cfg(test)]
mod tests;
