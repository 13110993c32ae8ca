//! A certificate as text for people, in the manner of `openssl x509 -text` but in our words.

use std::fmt::{self, Write as _};

use super::extension::{Extension, decode, general_name, oids};
use super::name_constraints::Subtree;
use super::{Certificate, NameConstraints, printable};
use crate::error::Result;

/// Writes every field and extension of the certificate as indented lines.
#[must_use]
pub fn describe(certificate: &Certificate) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    write_certificate(&mut text, certificate).map_or_else(|_error| String::new(), |()| text)
}

fn write_certificate(text: &mut String, certificate: &Certificate) -> fmt::Result {
    let key = &certificate.public_key;
    writeln!(text, "Certificate:")?;
    writeln!(text, "    Version: {}", certificate.version)?;
    writeln!(text, "    Serial number: {}", certificate.serial)?;
    writeln!(text, "    Signature algorithm: {}", certificate.signature_algorithm_name())?;
    writeln!(text, "    Issuer: {}", name(&certificate.issuer.to_string()))?;
    writeln!(text, "    Validity:")?;
    writeln!(text, "        Not before: {}", certificate.not_before)?;
    writeln!(text, "        Not after:  {}", certificate.not_after)?;
    writeln!(text, "    Subject: {}", name(&certificate.subject.to_string()))?;
    writeln!(text, "    Public key:")?;
    writeln!(text, "        Algorithm: {}", key.algorithm_name())?;
    writeln!(text, "        SHA-256 of the key info: {}", hex::encode(key.spki_sha256()))?;
    write_octets(text, "        ", key.key_bits())?;
    if !certificate.extensions().is_empty() {
        writeln!(text, "    Extensions:")?;
    }
    for extension in certificate.extensions() {
        let critical = if extension.critical { " (critical)" } else { "" };
        writeln!(text, "        {}{critical}:", title(extension))?;
        for line in extension_lines(extension) {
            writeln!(text, "            {line}")?;
        }
    }
    writeln!(text, "    Fingerprint (SHA-256): {}", hex::encode(certificate.fingerprint_sha256()))
}

fn name(text: &str) -> &str {
    if text.is_empty() { "(empty)" } else { text }
}

fn title(extension: &Extension) -> String {
    let name = oids::name(&extension.oid);
    let mut words: Vec<String> = name
        .split('_')
        .map(|word| match word {
            "crl" | "tls" | "ca" | "ocsp" | "qc" | "acme" => word.to_uppercase(),
            _ => word.to_owned(),
        })
        .collect();
    if let Some(first) = words.first_mut() {
        let mut characters = first.chars();
        *first = characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect();
    }
    words.join(" ")
}

fn write_octets(text: &mut String, indent: &str, octets: &[u8]) -> fmt::Result {
    for line in hex_lines(octets) {
        writeln!(text, "{indent}{line}")?;
    }
    Ok(())
}

/// Returns octets as hex with colons, 20 to a line.
fn hex_lines(octets: &[u8]) -> Vec<String> {
    octets.chunks(20).map(colons).collect()
}

fn colons(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<String>>().join(":")
}

/// Returns the lines of an extension's value: its meaning where it is known, and its octets otherwise.
fn extension_lines(extension: &Extension) -> Vec<String> {
    match known_lines(extension) {
        Ok(Some(lines)) => lines,
        Ok(None) => hex_lines(&extension.value),
        Err(error) => {
            let reason = format!("(cannot be read: {})", printable::text(error.detail()));
            std::iter::once(reason).chain(hex_lines(&extension.value)).collect()
        }
    }
}

fn known_lines(extension: &Extension) -> Result<Option<Vec<String>>> {
    let value = extension.value.as_slice();
    Ok(Some(match extension.oid {
        oids::BASIC_CONSTRAINTS => match decode::basic_constraints(value)? {
            None => vec!["CA: no".to_owned()],
            Some(None) => vec!["CA: yes".to_owned(), "Path length: no limit".to_owned()],
            Some(Some(limit)) => vec!["CA: yes".to_owned(), format!("Path length: {limit}")],
        },
        oids::KEY_USAGE => decode::key_usage(value)?.into_iter().map(|usage| usage.as_str().to_owned()).collect(),
        oids::EXTENDED_KEY_USAGE => decode::extended_key_usage(value)?.iter().map(ToString::to_string).collect(),
        oids::SUBJECT_ALT_NAME | oids::ISSUER_ALT_NAME => {
            general_name::read_all(value)?.iter().map(general_name::describe).collect()
        }
        oids::SUBJECT_KEY_IDENTIFIER => vec![colons(&decode::subject_key_identifier(value)?)],
        oids::AUTHORITY_KEY_IDENTIFIER => match decode::authority_key_identifier(value)? {
            Some(identifier) => vec![colons(&identifier)],
            None => return Ok(None),
        },
        oids::CRL_DISTRIBUTION_POINTS | oids::FRESHEST_CRL => decode::crl_distribution_points(value)?,
        oids::AUTHORITY_INFORMATION_ACCESS | oids::SUBJECT_INFORMATION_ACCESS => decode::information_access(value)?
            .into_iter()
            .map(|(method, location)| format!("{method}: {location}"))
            .collect(),
        oids::CERTIFICATE_POLICIES => decode::certificate_policies(value)?.iter().map(ToString::to_string).collect(),
        oids::NAME_CONSTRAINTS => {
            let constraints = NameConstraints::from_der(value)?;
            let lines = |what: &str, subtrees: &[Subtree]| -> Vec<String> {
                let line = |subtree: &Subtree| match subtree {
                    // Its form is in the text already.
                    Subtree::Unprocessed { .. } => format!("{what}: {subtree}"),
                    known => format!("{what}: {}:{known}", known.form().as_str()),
                };
                subtrees.iter().map(|subtree| printable::text(&line(subtree))).collect()
            };
            let permitted = lines("Permitted", constraints.permitted());
            permitted.into_iter().chain(lines("Excluded", constraints.excluded())).collect()
        }
        oids::POLICY_CONSTRAINTS => {
            let (explicit, mapping) = decode::policy_constraints(value)?;
            let line = |what: &str, after: Option<u32>| after.map(|count| format!("{what} after {count} certificates"));
            line("Explicit policy required", explicit).into_iter().chain(line("Mapping inhibited", mapping)).collect()
        }
        oids::INHIBIT_ANY_POLICY => vec![format!("after {} certificates", decode::inhibit_any_policy(value)?)],
        oids::POLICY_MAPPINGS => {
            decode::policy_mappings(value)?.iter().map(|(issuer, own)| format!("{issuer}: {own}")).collect()
        }
        oids::TLS_FEATURE => decode::tls_features(value)?
            .into_iter()
            .map(|feature| match feature {
                super::extension::STATUS_REQUEST => "status_request (must-staple)".to_owned(),
                other => other.to_string(),
            })
            .collect(),
        oids::OCSP_NO_CHECK => vec!["present".to_owned()],
        _ => return Ok(None),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;

    #[test]
    fn every_extension_that_is_written_is_described() {
        let root = Authority::root("Root");
        let text = describe(&root.leaf("a.example"));
        for line in [
            "    Serial number: 0102",
            "    Signature algorithm: ecdsa-sha256",
            "    Issuer: CN=Root",
            "        Not after:  2056-01-01T00:00:00Z",
            "        Algorithm: ecdsa-p256",
            "        Basic constraints (critical):",
            "            CA: no",
            "            digital_signature",
            "            server_auth",
            "            dns:a.example",
            "        CRL distribution points:",
            "            http://pki.example/root.crl",
            "            ca_issuers: http://pki.example/root.crt",
            "            ocsp: http://pki.example/ocsp",
            "            2.23.140.1.2.1",
            "            status_request (must-staple)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(describe(&root.certificate).contains("            CA: yes\n            Path length: no limit\n"));
    }

    #[test]
    fn unknown_extensions_are_hex() {
        let extension =
            Extension { oid: const_oid::ObjectIdentifier::new_unwrap("1.2.3"), critical: false, value: vec![1, 0xff] };
        assert_eq!(title(&extension), "1.2.3");
        assert_eq!(extension_lines(&extension), ["01:ff"]);
    }
}
