//! The `[authentication]` section: whose tokens and certificates are believed, and what they may. They are checked in `auth/`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use super::read;
use crate::auth::client_certificate;
use crate::auth::jwt::rules::{ClaimPath, Rules};
use crate::auth::jwt::{self, JwtAlgorithm};
use crate::policy::duration;
use crate::policy::grants::GrantsDocument;

pub use crate::auth::Role as RoleName;

/// Whose credentials are believed, beside API tokens, which are kept in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authentication {
    /// The issuers of JSON Web Tokens.
    pub jwt: Vec<Jwt>,
    /// The rules for TLS client certificates; the first that matches counts.
    pub client_certificates: Vec<ClientCertificate>,
}

/// An issuer of JSON Web Tokens (RFC 7519): an OIDC provider, a Kubernetes API server and so on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The name under which its subjects appear.
    pub name: String,
    /// The `iss` claim, exactly.
    pub issuer: String,
    /// The `aud` claim must hold one of these.
    pub audience: Vec<String>,
    /// The algorithms that are accepted, whatever the token says.
    #[serde(deserialize_with = "algorithms")]
    pub algorithms: Vec<JwtAlgorithm>,
    /// The address of the keys (a JWK set, RFC 7517): `https`, or `http` on this machine.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// A file with the keys (a JWK set).
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// A file with one public key in PEM.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
    /// PEM roots for `jwks_url`; the system's if absent.
    #[serde(default)]
    pub ca_certificates: Option<PathBuf>,
    /// How long keys from `jwks_url` are used before they are fetched again.
    #[serde(default = "ten_minutes", with = "duration")]
    pub refresh: Duration,
    /// How far clocks may be apart.
    #[serde(default = "half_a_minute", with = "duration")]
    pub leeway: Duration,
    /// The greatest age of a token by its `iat` claim, which is then needed; none if absent.
    #[serde(default, deserialize_with = "read::optional_duration")]
    pub maximum_age: Option<Duration>,
    /// The claim that names the subject; a JSON pointer when it begins with `/`.
    #[serde(default = "sub")]
    pub subject_claim: String,
    /// The role of subjects that no rule matches; they are refused if absent.
    #[serde(default)]
    pub role: Option<RoleName>,
    /// Rules that give roles and grants by claims; the first that matches counts.
    #[serde(default)]
    pub rules: Vec<JwtRule>,
}

const fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn sub() -> String {
    "sub".to_owned()
}

fn algorithms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<JwtAlgorithm>, D::Error> {
    use serde::de::Error as _;
    let read = |text: String| {
        let reason = match text.to_ascii_uppercase().as_str() {
            "NONE" => "tokens with it are not signed",
            "HS256" | "HS384" | "HS512" => "whoever can verify a token with it can forge one",
            _ => return text.parse().map_err(D::Error::custom),
        };
        let accepted = JwtAlgorithm::ALL.map(JwtAlgorithm::as_str).join(", ");
        Err(D::Error::custom(format!("the algorithm `{text}` is refused: {reason}; accepted are {accepted}")))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(read).collect()
}

/// Where the keys of a JWT issuer come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtKeys<'a> {
    /// Fetched from this address.
    Url(&'a str),
    /// A file with a JWK set.
    JwksFile(&'a Path),
    /// A file with one public key in PEM.
    PublicKeyFile(&'a Path),
}

/// What subjects with certain claims may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtRule {
    /// The claims that a token must have, all of them: the name and the accepted values. A name that begins with `/` is a JSON
    /// pointer (RFC 6901) into nested claims, such as `/kubernetes.io/namespace`.
    pub claims: BTreeMap<String, ClaimValues>,
    /// The role they give.
    pub role: RoleName,
    /// The grants they give; strings in them may have `{claim}` placeholders, which a claim's value replaces as a literal.
    #[serde(default)]
    pub grants: GrantsDocument,
}

/// The accepted values of a claim: the claim is one of them, or a list that holds one of them. Written as one value or as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimValues(Vec<String>);

impl ClaimValues {
    /// Returns the accepted values; numbers and booleans as JSON writes them.
    #[must_use]
    pub fn accepted(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ClaimValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ClaimValuesVisitor).map(Self)
    }
}

struct ClaimValuesVisitor;

impl<'de> Visitor<'de> for ClaimValuesVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a boolean, a whole number or a list of them")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<Self::Value, E> {
        Ok(vec![boolean.to_string()])
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Self::Value, E> {
        Ok(vec![integer.to_string()])
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Self::Value, E> {
        Ok(vec![integer.to_string()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(ClaimValues(item)) = items.next_element()? {
            values.extend(item);
        }
        Ok(values)
    }
}

/// A rule for TLS client certificates. All that is given must match.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The name under which its subjects appear.
    pub name: String,
    /// The CA whose certificates it is for.
    pub ca: ClientCa,
    /// Patterns, as in profiles, of which one must match one subject alternative name: with `://` for URIs, with `@` for e-mail addresses, an IP address or
    /// block, else for DNS names.
    #[serde(default)]
    pub subject_alt_names: Option<Vec<String>>,
    /// The common name of the subject, exactly.
    #[serde(default)]
    pub common_name: Option<String>,
    /// The SHA-256 digest of the certificate in hex, with or without colons.
    #[serde(default)]
    pub fingerprint_sha256: Option<Fingerprint>,
    /// The role it gives.
    pub role: RoleName,
    /// The grants it gives.
    #[serde(default)]
    pub grants: GrantsDocument,
}

/// The CA of client certificates: `issuer:<name>` for one of our own, or the path of a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCa {
    /// The issuer of this name.
    Issuer(String),
    /// The roots in this PEM file.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for ClientCa {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.strip_prefix("issuer:") {
            Some(name) => Self::Issuer(name.to_owned()),
            None => Self::File(PathBuf::from(text)),
        })
    }
}

/// The SHA-256 digest of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(text.replace(':', ""), &mut digest)
            .map_err(|_digits| D::Error::custom(format!("`{text}` is not a SHA-256 digest of 64 hex digits")))?;
        Ok(Self(digest))
    }
}

impl Authentication {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        for (index, jwt) in self.jwt.iter().enumerate() {
            jwt.validate(&format!("authentication.jwt[{index}]"), problems);
        }
        read::distinct(problems, "authentication.jwt", self.jwt.iter().map(|jwt| jwt.name.as_str()));
        for (index, rule) in self.client_certificates.iter().enumerate() {
            rule.validate(&format!("authentication.client_certificates[{index}]"), problems);
        }
        let names = self.client_certificates.iter().map(|rule| rule.name.as_str());
        read::distinct(problems, "authentication.client_certificates", names);
        // A token says who issued it; two entries for one issuer would leave open whose keys and rules count.
        let mut issuers: Vec<&str> = self.jwt.iter().map(|jwt| jwt.issuer.as_str()).collect();
        issuers.sort_unstable();
        for pair in issuers.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                problems.push(format!("`authentication.jwt` has the issuer `{first}` more than once"));
            }
        }
    }
}

impl Jwt {
    /// Returns where the keys come from; `None` only before validation.
    #[must_use]
    pub fn keys(&self) -> Option<JwtKeys<'_>> {
        match (&self.jwks_url, &self.jwks_file, &self.public_key_file) {
            (Some(url), None, None) => Some(JwtKeys::Url(url)),
            (None, Some(file), None) => Some(JwtKeys::JwksFile(file)),
            (None, None, Some(file)) => Some(JwtKeys::PublicKeyFile(file)),
            _ => None,
        }
    }

    fn validate(&self, setting: &str, problems: &mut Vec<String>) {
        read::named(problems, &format!("{setting}.name"), &self.name);
        if self.issuer.is_empty() {
            problems.push(format!("`{setting}.issuer` is empty"));
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            problems.push(format!(
                "`{setting}.audience` must have at least one value and no empty one: tokens for others would be accepted"
            ));
        }
        if self.algorithms.is_empty() {
            problems.push(format!("`{setting}.algorithms` must have at least one algorithm"));
        }
        if self.keys().is_none() {
            problems
                .push(format!("`{setting}` must have exactly one of `jwks_url`, `jwks_file` and `public_key_file`"));
        }
        if self.jwks_url.as_deref().is_some_and(|url| !is_safe(url)) {
            problems.push(format!("`{setting}.jwks_url` must be `https://`, or `http://` on this machine"));
        }
        if self.ca_certificates.is_some() && self.jwks_url.is_none() {
            problems.push(format!("`{setting}.ca_certificates` has no use without `jwks_url`"));
        }
        read::lasting(problems, &format!("{setting}.refresh"), self.refresh, 30, 86_400);
        read::lasting(problems, &format!("{setting}.leeway"), self.leeway, 0, 600);
        if let Some(age) = self.maximum_age {
            read::lasting(problems, &format!("{setting}.maximum_age"), age, 1, 365 * 86_400);
        }
        if let Err(error) = ClaimPath::parse(&self.subject_claim) {
            problems.push(format!("`{setting}.subject_claim`: {error}"));
        }
        // Has `auth/` judge the rules, as it will when the service starts.
        let rules = self.rules.iter().map(|rule| jwt::JwtRule {
            claims: rule.claims.iter().map(|(path, values)| (path.clone(), values.0.clone())).collect(),
            role: rule.role,
            grants: rule.grants.clone(),
        });
        if let Err(error) = Rules::compile(rules.collect(), self.role) {
            problems.push(format!("`{setting}`: {error}"));
        }
    }
}

impl ClientCertificate {
    fn validate(&self, setting: &str, problems: &mut Vec<String>) {
        match &self.ca {
            ClientCa::Issuer(name) => read::named(problems, &format!("{setting}.ca"), name),
            ClientCa::File(path) if path.as_os_str().is_empty() => {
                problems.push(format!("`{setting}.ca` is empty; write `issuer:<name>` or the path of a PEM file"));
            }
            ClientCa::File(_) => {}
        }
        if self.subject_alt_names.as_ref().is_some_and(Vec::is_empty) {
            problems.push(format!("`{setting}.subject_alt_names` is empty and would match nobody"));
        }
        if self.common_name.as_ref().is_some_and(String::is_empty) {
            problems.push(format!("`{setting}.common_name` is empty"));
        }
        // Has `auth/` judge the rest, as it will when the service starts; the CA's certificates are read only then.
        let judged = client_certificate::rules::compile(vec![client_certificate::ClientCertificateRule {
            name: self.name.clone(),
            authority: client_certificate::ClientCertificateAuthority::Issuer("issuing".to_owned()),
            subject_alt_names: self.subject_alt_names.clone().unwrap_or_default(),
            common_name: self.common_name.clone(),
            fingerprints_sha256: self.fingerprint_sha256.iter().map(|fingerprint| fingerprint.0).collect(),
            role: self.role,
            grants: self.grants.clone(),
        }]);
        if let Err(error) = judged {
            problems.push(format!("`{setting}`: {error}"));
        }
    }
}

/// Whether keys fetched from there are those of the server: it proves who it is, or is this machine.
fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}
