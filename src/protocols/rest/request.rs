//! Requests for certificates as clients write them: JSON or a raw CSR with query parameters, turned into what the core takes.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use actix_web::{FromRequest, HttpRequest, dev};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::LocalBoxFuture;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::{JSON, PEM_FILE, State, query};
use crate::auth::permission::ReadProfiles;
use crate::auth::{Authorized, Caller};
use crate::ca::IssuanceRequest;
use crate::ca::issuance::Idempotency;
use crate::error::{Error, Result};
use crate::http::AppState;
use crate::http::extract::body::unsupported;
use crate::http::extract::{Fields, FromFields, Parameters, Submission, json};
use crate::policy::{Adjustments, RequestedSubjectAltName, RequestedValidity, duration};
use crate::storage::Source;
use crate::x509::distinguished_name::AttributeType;
use crate::x509::{CertificateRequest, Timestamp};

/// The media type of a PKCS #10 request (RFC 5967), taken in DER, PEM and base64.
pub(crate) const PKCS10: &str = "application/pkcs10";

/// The label that starts every PEM block.
const PEM_START: &[u8] = b"-----BEGIN ";

/// A request for a certificate.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CertificateRequest)]
pub struct IssuanceBody {
    /// The certificate signing request: PEM, or base64 of DER; at most 64 KiB with the whole body.
    #[schema(example = "-----BEGIN CERTIFICATE REQUEST-----\nMIH...\n-----END CERTIFICATE REQUEST-----\n")]
    pub csr: String,
    /// The profile; the configured default if absent and there is one.
    #[serde(default)]
    #[schema(example = "server")]
    pub profile: Option<String>,
    /// The issuer; the profile's if absent.
    #[serde(default)]
    pub issuer: Option<String>,
    /// How long it is to be valid from now, such as `90d`; the profile's default if this and `not_after` are absent.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub validity: Option<Duration>,
    /// When its validity is to end, instead of `validity`.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// Names beside those of the CSR.
    #[serde(default)]
    pub subject_alt_names: Vec<RequestedSubjectAltName>,
    /// Replaces the CSR's subject: values by attribute, written in the usual order (country first, common name last).
    #[serde(default, deserialize_with = "optional_subject")]
    #[schema(value_type = Option<BTreeMap<AttributeType, OneOrMany>>, example = json!({"common_name": "app.internal", "organization": "Example"}))]
    pub subject: Option<BTreeMap<AttributeType, OneOrMany>>,
    /// Labels for the inventory: at most 32, keys of 1 to 63 and values of at most 255 characters.
    #[serde(default)]
    #[schema(example = json!({"team": "payments"}))]
    pub labels: BTreeMap<String, String>,
}

/// A value, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several, in order.
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_values(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// The query parameters beside a raw CSR.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RawParameters {
    /// With a raw CSR as body: the profile; the configured default if absent and there is one.
    #[param(example = "server")]
    pub profile: Option<String>,
    /// With a raw CSR as body: the issuer; the profile's if absent.
    pub issuer: Option<String>,
    /// With a raw CSR as body: how long the certificate is to be valid from now.
    #[param(value_type = Option<String>, example = "90d")]
    pub validity: Option<Duration>,
    /// With a raw CSR as body: when its validity is to end, instead of `validity`.
    pub not_after: Option<Timestamp>,
    /// With a raw CSR as body: a label, `key:value`; may be repeated.
    #[param(value_type = Option<Vec<String>>, style = Form, explode = true)]
    pub label: Vec<String>,
}

impl FromFields for RawParameters {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            profile: fields.one("profile")?,
            issuer: fields.one("issuer")?,
            validity: fields.one("validity")?.as_deref().map(duration::parse).transpose()?,
            not_after: fields.parsed("not_after")?,
            label: fields.all("label"),
        })
    }
}

/// A request for a certificate, read and not yet parsed as a CSR.
#[derive(Clone, Debug)]
pub struct IssuanceSubmission {
    csr: Vec<u8>,
    profile: Option<String>,
    issuer: Option<String>,
    adjustments: Adjustments,
    labels: BTreeMap<String, String>,
    idempotency: Option<Idempotency>,
}

impl FromRequest for IssuanceSubmission {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let submission = Submission::from_request(request, payload);
        let request = request.clone();
        Box::pin(async move { Self::read(request.query_string(), submission.await?) })
    }
}

impl IssuanceSubmission {
    fn read(query: &str, submission: Submission) -> Result<Self> {
        let idempotency = submission.idempotency;
        match submission.media_type.as_str() {
            JSON => {
                let Parameters(()) = Parameters::read(query)?;
                Self::from_body(json::parse(&submission.octets)?, idempotency)
            }
            PKCS10 | PEM_FILE => {
                let Parameters(raw) = Parameters::<RawParameters>::read(query)?;
                Self::from_raw(raw, submission.octets.to_vec(), idempotency)
            }
            other => Err(unsupported(other, &[JSON, PKCS10, PEM_FILE])),
        }
    }

    fn from_body(body: IssuanceBody, idempotency: Option<Idempotency>) -> Result<Self> {
        let subject = body.subject.map(|subject| {
            let values = |(attribute, values): (AttributeType, OneOrMany)| {
                values.into_values().into_iter().map(move |value| (attribute, value))
            };
            subject.into_iter().flat_map(values).collect()
        });
        let validity = validity(body.validity, body.not_after)?;
        Ok(Self {
            csr: body.csr.into_bytes(),
            profile: body.profile,
            issuer: body.issuer,
            adjustments: Adjustments { subject, subject_alt_names: body.subject_alt_names, validity, not_before: None },
            labels: body.labels,
            idempotency,
        })
    }

    fn from_raw(raw: RawParameters, csr: Vec<u8>, idempotency: Option<Idempotency>) -> Result<Self> {
        let mut labels = BTreeMap::new();
        for text in &raw.label {
            let (key, value) = query::label(text)?;
            if labels.insert(key.clone(), value).is_some() {
                return Err(Error::malformed(format!(
                    "the label `{}` is there more than once",
                    crate::http::problem::shorten(&key)
                )));
            }
        }
        let adjustments = Adjustments { validity: validity(raw.validity, raw.not_after)?, ..Adjustments::default() };
        Ok(Self { csr, profile: raw.profile, issuer: raw.issuer, adjustments, labels, idempotency })
    }

    /// Parses the CSR and names the profile. A CSR that does not parse, and a missing profile, are written into the audit log as refusals
    /// of `action`.
    ///
    /// # Errors
    /// `BadCsr`; `Malformed` when no profile is named and there is no default; those of the storage.
    pub(crate) async fn into_request(self, state: &State, caller: &Caller, action: &str) -> Result<IssuanceRequest> {
        let profile = match self.profile.or_else(|| state.settings.default_profile.clone()) {
            Some(profile) => profile,
            None => {
                let error = no_profile(state, caller);
                return Err(state.ca.record_refusal(caller, action, String::new(), error).await);
            }
        };
        let csr = parse_csr(state, caller, action, &self.csr).await?;
        Ok(IssuanceRequest {
            csr,
            profile,
            issuer: self.issuer,
            adjustments: self.adjustments,
            labels: self.labels,
            source: Source::Rest,
            idempotency: self.idempotency,
            order: None,
        })
    }
}

/// Says which profiles there are, as far as the caller may know.
fn no_profile(state: &AppState, caller: &Caller) -> Error {
    let names: Vec<String> = match Authorized::<ReadProfiles>::check(std::sync::Arc::new(caller.clone())) {
        Ok(authorized) => state.ca.list_profiles(&authorized).into_iter().map(|profile| profile.record.name).collect(),
        Err(_forbidden) => caller.principal.grants.document().profiles.clone().unwrap_or_default(),
    };
    let hint = if names.is_empty() { String::new() } else { format!("; there are `{}`", names.join("`, `")) };
    Error::malformed(format!("the request names no `profile` and no default is configured{hint}"))
}

/// Parses a CSR; one that does not parse is written into the audit log.
///
/// # Errors
/// `BadCsr`; those of the storage.
pub(crate) async fn parse_csr(
    state: &AppState,
    caller: &Caller,
    action: &str,
    input: &[u8],
) -> Result<CertificateRequest> {
    match without_base64(input).and_then(|der| CertificateRequest::parse(&der)) {
        Ok(csr) => Ok(csr),
        Err(error) => Err(state.ca.record_refusal(caller, action, String::new(), error).await),
    }
}

/// Takes base64 of DER off; PEM and DER stay as they are, for the parser to judge.
///
/// # Errors
/// `Malformed` for what begins like base64 of DER and is none.
pub(crate) fn without_base64(input: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>> {
    // A DER SEQUENCE starts with 0x30, which is also the digit `0`; base64 of a SEQUENCE starts with `M`.
    let is_base64 = input.trim_ascii_start().first() == Some(&b'M')
        && !input.windows(PEM_START.len()).any(|window| window == PEM_START);
    if !is_base64 {
        return Ok(input.into());
    }
    let text: Vec<u8> = input.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    STANDARD
        .decode(&text)
        .map(Into::into)
        .map_err(|error| Error::malformed("the input is neither PEM nor DER nor base64 of DER").with_source(error))
}

/// Joins the two ways to state the end of validity.
///
/// # Errors
/// `Malformed` when both are there.
pub(crate) fn validity(length: Option<Duration>, not_after: Option<Timestamp>) -> Result<Option<RequestedValidity>> {
    match (length, not_after) {
        (Some(_), Some(_)) => Err(Error::malformed("`validity` and `not_after` exclude each other; give one of them")),
        (Some(length), None) => Ok(Some(RequestedValidity::Duration(length))),
        (None, Some(moment)) => Ok(Some(RequestedValidity::NotAfter(moment))),
        (None, None) => Ok(None),
    }
}

/// Reads a duration or null.
pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| duration::parse(&text).map_err(de::Error::custom)).transpose()
}

fn optional_subject<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<AttributeType, OneOrMany>>, D::Error> {
    struct Wrapper(BTreeMap<AttributeType, OneOrMany>);
    impl<'de> Deserialize<'de> for Wrapper {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(SubjectVisitor(PhantomData)).map(Self)
        }
    }
    Ok(Option::<Wrapper>::deserialize(deserializer)?.map(|wrapper| wrapper.0))
}

/// Reads a subject; an attribute under both of its names is refused, where a plain map would let the last one win.
struct SubjectVisitor(PhantomData<()>);

impl<'de> Visitor<'de> for SubjectVisitor {
    type Value = BTreeMap<AttributeType, OneOrMany>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of subject attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut subject = BTreeMap::new();
        while let Some((attribute, values)) = map.next_entry::<AttributeType, OneOrMany>()? {
            if subject.insert(attribute, values).is_some() {
                return Err(de::Error::custom(
                    "a subject attribute is there more than once; give its values as a list",
                ));
            }
        }
        Ok(subject)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::web::Bytes;

    use super::*;

    fn submit(query: &str, media_type: &str, body: &'static str) -> Result<IssuanceSubmission> {
        let submission = Submission {
            octets: Bytes::from_static(body.as_bytes()),
            media_type: media_type.to_owned(),
            idempotency: None,
        };
        IssuanceSubmission::read(query, submission)
    }

    fn detail(query: &str, media_type: &str, body: &'static str) -> String {
        submit(query, media_type, body).unwrap_err().detail().to_owned()
    }

    #[test]
    fn a_json_body_is_read() {
        let body = r#"{"csr": "x", "profile": "server", "subject_alt_names": ["a.internal", {"type": "ip", "value": "10.0.0.1"}],
            "subject": {"common_name": "a", "organizational_unit": ["b", "c"]}, "labels": {"k": "v"}, "not_after": "2030-01-31T12:00:00Z"}"#;
        let submission = submit("", JSON, body).unwrap();
        assert_eq!(submission.adjustments.subject_alt_names.len(), 2);
        let subject = submission.adjustments.subject.unwrap();
        let expected = [
            (AttributeType::OrganizationalUnit, "b".to_owned()),
            (AttributeType::OrganizationalUnit, "c".to_owned()),
            (AttributeType::CommonName, "a".to_owned()),
        ];
        assert_eq!(subject, expected);
        assert!(matches!(submission.adjustments.validity, Some(RequestedValidity::NotAfter(_))));
    }

    #[test]
    fn a_raw_body_takes_its_parameters_from_the_query() {
        let submission = submit("profile=server&label=team:a&label=env:b", PKCS10, "raw").unwrap();
        assert_eq!(submission.profile.as_deref(), Some("server"));
        assert_eq!(submission.labels.len(), 2);
        assert_eq!(submission.csr, b"raw");
        assert!(submit("", PEM_FILE, "raw").is_ok());
    }

    #[test]
    fn nothing_is_dropped_silently() {
        assert!(detail("profile=server", JSON, r#"{"csr": "x"}"#).contains("unknown query parameter `profile`"));
        assert!(detail("subject=x", PKCS10, "raw").contains("unknown query parameter `subject`"));
        assert!(detail("label=a:1&label=a:2", PKCS10, "raw").contains("more than once"));
        assert!(
            detail("", JSON, r#"{"csr": "x", "profil": "server"}"#).contains("unknown field `profil`; known are `csr`")
        );
        assert!(
            detail("", JSON, r#"{"csr": "x", "subject": {"state": "a", "state_or_province": "b"}}"#)
                .contains("more than once")
        );
        assert!(
            detail("", JSON, r#"{"csr": "x", "subject": {"nickname": "a"}}"#)
                .contains("unknown value `nickname`; known are")
        );
        assert!(detail("", JSON, r#"{"csr": "x", "labels": {"a": "1", "a": "2"}}"#).contains("more than once"));
        assert!(detail("", JSON, r#"{"profile": "server"}"#).contains("missing field `csr`"));
    }

    #[test]
    fn other_media_types_are_refused() {
        let error = submit("", "text/plain", "x").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::UnsupportedMediaType);
        assert!(error.detail().contains(PKCS10));
        assert!(submit("", "", "x").is_err());
    }

    #[test]
    fn validity_and_not_after_exclude_each_other() {
        let moment = Timestamp::from_unix(1_900_000_000);
        assert!(validity(Some(Duration::from_secs(1)), Some(moment)).is_err());
        assert_eq!(validity(None, None).unwrap(), None);
    }

    #[test]
    fn base64_is_taken_off_and_pem_and_der_stay() {
        assert_eq!(without_base64(b" MAUC\r\nAQECAQ==\n").unwrap().as_ref(), b"\x30\x05\x02\x01\x01\x02\x01");
        let pem = b"My request\n-----BEGIN CERTIFICATE REQUEST-----\n";
        assert_eq!(without_base64(pem).unwrap().as_ref(), pem);
        assert_eq!(without_base64(b"\x30\x03").unwrap().as_ref(), b"\x30\x03");
        assert_eq!(without_base64(b"M!").unwrap_err().kind(), crate::ErrorKind::Malformed);
    }
}
