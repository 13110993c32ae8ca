//! Parses whatever a person pastes (CSR, certificate, chain, CRL; PEM or DER) to JSON, for `POST /api/v1/inspect`.
//!
//! It judges nothing: whether a certificate would be issued is what `POST /api/v1/certificates/check` answers.

use const_oid::ObjectIdentifier;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::crl::{CertificateList, IssuingDistributionPoint, RemovedEntry, RevokedEntry};
use super::csr::{RequestedName, Unverified};
use super::extension::{Extension, decode, oids};
use super::usage::KeyUsages;
use super::{Certificate, ExtendedKeyUsage, NameConstraintsDocument, PublicKey, SubjectAltName, encoding, pem};
use crate::error::{Error, Result};

/// The most objects of one input.
const MAXIMUM_OBJECTS: usize = 100;
/// The most CRL entries that are shown.
const MAXIMUM_ENTRIES: usize = 1000;

/// One object found in the input.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Inspected {
    /// `certificate`, `certificate_request` or `crl`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its fields by their standard names.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// Parses the input: PEM with any number of blocks, or one DER object. A request whose signature does not verify is shown with
/// `signature_valid: false` rather than refused.
///
/// # Errors
/// `Malformed` when nothing in it can be parsed.
pub fn inspect(input: &[u8]) -> Result<Vec<Inspected>> {
    let Some(text) = pem::text_of(input) else {
        return any_der(input).map(|inspected| vec![inspected]);
    };
    let blocks = pem::decode_all(text)?;
    if blocks.len() > MAXIMUM_OBJECTS {
        return Err(Error::malformed(format!("the input has more than {MAXIMUM_OBJECTS} PEM blocks")));
    }
    let mut found = Vec::new();
    for (label, der) in &blocks {
        match label.as_str() {
            label if pem::is_certificate(label) => found.push(certificate(der)?),
            label if pem::is_certificate_request(label) => found.push(request(der)?),
            "X509 CRL" => found.push(revocation_list(der)?),
            // Whatever else is pasted along with it, a private key above all, is not looked at and not shown.
            _ => {}
        }
    }
    if found.is_empty() {
        return Err(Error::malformed("the input has no `CERTIFICATE`, `CERTIFICATE REQUEST` or `X509 CRL` PEM block"));
    }
    Ok(found)
}

/// Tries the three types in turn.
fn any_der(der: &[u8]) -> Result<Inspected> {
    if der.first() != Some(&encoding::SEQUENCE) {
        return Err(Error::malformed("the input is neither PEM nor DER"));
    }
    let attempts = [certificate(der), request(der), revocation_list(der)];
    let mut reasons = Vec::new();
    for attempt in attempts {
        match attempt {
            Ok(inspected) => return Ok(inspected),
            Err(error) => reasons.push(error.detail().to_owned()),
        }
    }
    let message = format!("the DER is not a certificate, request or CRL that can be read: {}", reasons.join("; "));
    Err(Error::malformed(message))
}

fn inspected(kind: &'static str, fields: Value) -> Inspected {
    let fields = match fields {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    Inspected { kind, fields }
}

fn certificate(der: &[u8]) -> Result<Inspected> {
    let certificate = Certificate::from_der(der)?;
    Ok(inspected(
        "certificate",
        json!({
            "serial": certificate.serial.to_string(),
            "subject": certificate.subject.to_string(),
            "issuer": certificate.issuer.to_string(),
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "subject_alt_names": certificate.names.iter().map(name).collect::<Vec<_>>(),
            "key": key(&certificate.public_key),
            "key_usage": key_usages(certificate.key_usage.as_ref()),
            "extended_key_usage": extended_key_usages(certificate.extended_key_usage.as_deref()),
            "is_ca": certificate.certificate_authority.is_some(),
            "path_length": certificate.certificate_authority.flatten(),
            "name_constraints": certificate.name_constraints.as_ref().map(NameConstraintsDocument::from),
            "must_staple": certificate.must_staple,
            "crl_distribution_points": locations(&certificate, &oids::CRL_DISTRIBUTION_POINTS),
            "freshest_crl": locations(&certificate, &oids::FRESHEST_CRL),
            "subject_key_identifier": certificate.subject_key_identifier.as_ref().map(hex::encode),
            "authority_key_identifier": certificate.authority_key_identifier.as_ref().map(hex::encode),
            "fingerprint_sha256": hex::encode(certificate.fingerprint_sha256()),
            "signature_algorithm": certificate.signature_algorithm_name(),
            "extensions": extensions(certificate.extensions()),
            "certificate": certificate.to_pem(),
        }),
    ))
}

/// Returns the addresses of distribution points; of one that cannot be read there is nothing to show.
fn locations(certificate: &Certificate, extension: &ObjectIdentifier) -> Vec<String> {
    let value = certificate.extension_value(extension);
    value.and_then(|(_critical, value)| decode::crl_distribution_points(&value).ok()).unwrap_or_default()
}

fn request(der: &[u8]) -> Result<Inspected> {
    let request = Unverified::from_der(der)?;
    let requested = &request.requested;
    let fields = json!({
        "subject": request.subject.to_string(),
        "subject_alt_names": requested.names.iter().map(requested_name).collect::<Vec<_>>(),
        "key": key(&request.public_key),
        "key_usage": key_usages(requested.key_usage.as_ref()),
        "extended_key_usage": extended_key_usages(requested.extended_key_usage.as_deref()),
        "is_ca": requested.certificate_authority,
        "path_length": requested.path_length,
        "must_staple": requested.must_staple,
        "signature_algorithm": request.signature_algorithm_name(),
        "extensions": extensions(&request.extensions),
    });
    let mut inspected = inspected("certificate_request", fields);
    inspected.fields.insert("signature_valid".to_owned(), Value::Bool(request.verify().is_ok()));
    Ok(inspected)
}

fn revocation_list(der: &[u8]) -> Result<Inspected> {
    let list = CertificateList::from_der(der)?;
    Ok(inspected(
        "crl",
        json!({
            "issuer": list.issuer.to_string(),
            "number": list.number,
            "is_delta": list.is_delta(),
            "base_number": list.base_number,
            "issuing_distribution_point": list.distribution_point.as_ref().map(distribution_point),
            "freshest_crl": list.freshest_crl,
            "this_update": list.this_update,
            "next_update": list.next_update,
            "signature_algorithm": list.signature_algorithm_name(),
            "extensions": extensions(list.extensions()),
            "revoked": list.entries.len(),
            "entries": list.entries.iter().take(MAXIMUM_ENTRIES).map(entry).collect::<Vec<_>>(),
            "removed": list.removed.iter().take(MAXIMUM_ENTRIES).map(removed).collect::<Vec<_>>(),
        }),
    ))
}

fn distribution_point(point: &IssuingDistributionPoint) -> Value {
    json!({
        "full_name": point.full_name,
        "only_contains_user_certificates": point.only_contains_user_certificates,
        "only_contains_ca_certificates": point.only_contains_ca_certificates,
        "only_some_reasons": point.only_some_reasons,
        "indirect_crl": point.indirect_crl,
        "only_contains_attribute_certificates": point.only_contains_attribute_certificates,
    })
}

fn removed(entry: &RemovedEntry) -> Value {
    json!({ "serial": entry.serial.to_string(), "removed_at": entry.removed_at })
}

fn entry(entry: &RevokedEntry) -> Value {
    json!({
        "serial": entry.serial.to_string(),
        "revoked_at": entry.revoked_at,
        "reason": entry.reason,
        "invalidity_date": entry.invalidity_date,
    })
}

fn name(name: &SubjectAltName) -> Value {
    json!({ "type": name.name_type(), "value": name.value() })
}

fn requested_name(requested: &RequestedName) -> Value {
    match requested {
        RequestedName::Name(found) => name(found),
        RequestedName::Malformed(malformed) => {
            json!({ "type": malformed.name_type, "value": malformed.value, "malformed": malformed.message })
        }
        RequestedName::Unsupported { kind, value } => json!({ "type": kind, "value": value }),
    }
}

fn key(key: &PublicKey) -> Value {
    let weaknesses: Vec<Value> = key
        .weaknesses()
        .into_iter()
        .map(|weakness| json!({ "code": weakness.code, "message": weakness.message }))
        .collect();
    json!({
        "algorithm": key.algorithm_name(),
        "spki_sha256": hex::encode(key.spki_sha256()),
        "weaknesses": weaknesses,
    })
}

fn key_usages(usages: Option<&KeyUsages>) -> Value {
    json!(usages.into_iter().flatten().collect::<Vec<_>>())
}

fn extended_key_usages(usages: Option<&[ExtendedKeyUsage]>) -> Value {
    json!(usages.unwrap_or_default())
}

fn extensions(extensions: &[Extension]) -> Vec<Value> {
    extensions
        .iter()
        .map(|extension| {
            json!({
                "oid": extension.oid.to_string(),
                "name": oids::name(&extension.oid),
                "critical": extension.critical,
            })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::crl::{CrlTemplate, RevocationReason};
    use crate::x509::testing::Authority;
    use crate::x509::{SerialNumber, SignatureAlgorithm};

    #[test]
    fn a_chain_is_shown_block_by_block() {
        let root = Authority::root("Root");
        let text = format!("junk\n{}{}", root.leaf("a.example").to_pem(), root.certificate.to_pem());
        let found = inspect(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        let json = serde_json::to_value(&found[0]).unwrap();
        assert_eq!(json["type"], "certificate");
        assert_eq!(json["subject"], "CN=a.example");
        assert_eq!(json["not_after"], "2056-01-01T00:00:00Z");
        assert_eq!(json["subject_alt_names"], json!([{ "type": "dns", "value": "a.example" }]));
        assert_eq!(json["key"]["algorithm"], "ecdsa-p256");
        assert_eq!(json["key_usage"], json!(["digital_signature"]));
        assert_eq!(json["extended_key_usage"], json!(["server_auth"]));
        assert_eq!(json["is_ca"], false);
        assert_eq!(json["crl_distribution_points"], json!(["http://pki.example/root.crl"]));
        assert_eq!(json["freshest_crl"], json!([]));
        assert_eq!(json["extensions"][0], json!({ "oid": "2.5.29.19", "name": "basic_constraints", "critical": true }));
        assert_eq!(serde_json::to_value(&found[1]).unwrap()["is_ca"], true);
    }

    #[test]
    fn a_delta_crl_is_shown_with_its_base_and_what_it_removes() {
        let root = Authority::root("Root");
        let moment: crate::x509::Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let template = CrlTemplate {
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
            issuer: &root.certificate.subject,
            authority_key_identifier: &[1; 20],
            number: 9,
            this_update: moment,
            next_update: moment + std::time::Duration::from_secs(60),
            distribution_point: Some("http://a/1.crl"),
            base_number: Some(8),
            freshest_crl: None,
        };
        let mut builder = template.begin(0).unwrap();
        let serial = SerialNumber::from_bytes(&[7]).unwrap();
        let reason = RevocationReason::KeyCompromise;
        builder.push(&RevokedEntry { serial: serial.clone(), revoked_at: moment, reason, invalidity_date: None });
        builder.push_removed(&RemovedEntry { serial, removed_at: moment });
        let der = root.sign(builder.finish().to_be_signed());
        let json = serde_json::to_value(&inspect(&der).unwrap()[0]).unwrap();
        assert_eq!((&json["type"], &json["is_delta"], &json["base_number"]), (&json!("crl"), &json!(true), &json!(8)));
        assert_eq!(json["issuing_distribution_point"]["full_name"], json!(["http://a/1.crl"]));
        assert_eq!(json["issuing_distribution_point"]["indirect_crl"], false);
        assert_eq!(json["entries"][0]["reason"], "key_compromise");
        assert_eq!(json["removed"], json!([{ "serial": "07", "removed_at": "2026-01-02T03:04:05Z" }]));
    }

    #[test]
    fn der_is_recognised_by_its_content() {
        let root = Authority::root("Root");
        assert_eq!(inspect(root.certificate.as_der()).unwrap()[0].kind, "certificate");
    }

    #[test]
    fn private_keys_are_not_shown_and_nothing_else_is_an_error() {
        let text = "-----BEGIN PRIVATE KEY-----\nAQI=\n-----END PRIVATE KEY-----\n";
        assert!(inspect(text.as_bytes()).is_err());
        assert!(inspect(b"\xff\xfe").is_err());
        assert!(inspect(&[0x30, 0]).is_err());
        assert!(inspect(b"").is_err());
    }
}
