//! What profiles do not give: usages, extensions, the CA flag, validity; and names that a profile denies.

use serde_json::{Value, json};

use super::Table;
use crate::support::csr::Csr;
use crate::support::der;

pub(super) fn rows(table: &mut Table<'_>) {
    usages(table);
    extensions(table);
    validity(table);
    strict(table);
}

fn good() -> Csr {
    Csr::for_dns(&["good.internal"])
}

fn extended_key_usage(purposes: &[&str]) -> Vec<u8> {
    der::wrap(der::SEQUENCE, &purposes.iter().map(|purpose| der::oid(purpose)).collect::<Vec<_>>())
}

fn usages(table: &mut Table<'_>) {
    let constraints = der::wrap(der::SEQUENCE, &[der::boolean(true)]);
    let ca = good().extension("2.5.29.19", true, &constraints);
    table.server_refuses("a CA certificate", &ca, &["ca_not_allowed"]);
    // keyCertSign and cRLSign: bits 5 and 6.
    let signing = good().extension("2.5.29.15", true, &[3, 2, 1, 0x06]);
    table.server_refuses(
        "signing certificates and CRLs",
        &signing,
        &["key_usage_not_allowed", "key_usage_not_allowed"],
    );
    let both = good().extension("2.5.29.19", true, &constraints).extension("2.5.29.15", true, &[3, 2, 2, 0x04]);
    table.server_refuses("a CA certificate that may sign", &both, &["key_usage_not_allowed", "ca_not_allowed"]);
    // keyEncipherment: bit 2, which an elliptic curve key cannot do.
    let encipherment = good().extension("2.5.29.15", true, &[3, 2, 5, 0x20]);
    table.server_refuses("key encipherment with P-256", &encipherment, &["key_usage_not_allowed"]);
    for (what, purpose) in [
        ("client authentication under the profile `server`", "1.3.6.1.5.5.7.3.2"),
        ("code signing", "1.3.6.1.5.5.7.3.3"),
        ("OCSP signing", "1.3.6.1.5.5.7.3.9"),
        ("any extended key usage", "2.5.29.37.0"),
        ("an unknown purpose", "1.3.6.1.4.1.99999.2"),
    ] {
        let csr = good().extension("2.5.29.37", false, &extended_key_usage(&[purpose]));
        table.server_refuses(what, &csr, &["extended_key_usage_not_allowed"]);
    }
}

fn extensions(table: &mut Table<'_>) {
    let staple = der::wrap(der::SEQUENCE, &[der::tlv(der::INTEGER, &[5])]);
    table.server_refuses(
        "must-staple",
        &good().extension("1.3.6.1.5.5.7.1.24", false, &staple),
        &["must_staple_not_allowed"],
    );
    let policies = der::wrap(der::SEQUENCE, &[der::wrap(der::SEQUENCE, &[der::oid("2.23.140.1.1")])]);
    let subtree = der::wrap(der::SEQUENCE, &[der::tlv(der::NAME_DNS, b"internal")]);
    let constraints = der::tlv(0x30, &der::tlv(0xa0, &subtree));
    for (what, kind, critical, value) in [
        ("extended validation by wish", "2.5.29.32", false, policies),
        ("name constraints", "2.5.29.30", true, constraints),
        ("an unknown extension", "1.3.6.1.4.1.99999.3", false, vec![5, 0]),
        ("an unknown critical extension", "1.3.6.1.4.1.99999.4", true, vec![5, 0]),
        ("an authority key identifier", "2.5.29.35", false, vec![0x30, 0]),
        ("CRL distribution points", "2.5.29.31", false, vec![0x30, 0]),
        ("a subject key identifier of one's own", "2.5.29.14", false, vec![4, 2, 1, 2]),
    ] {
        table.server_refuses(what, &good().extension(kind, critical, &value), &["extension_not_allowed"]);
    }
    let template = der::tlv(0x1e, b"\0S\0u\0b\0C\0A");
    let csr = good().extension("1.3.6.1.4.1.311.20.2", false, &template);
    table.server_refuses("a template of another CA", &csr, &["extension_not_allowed"]);
}

fn validity(table: &mut Table<'_>) {
    for (field, value, violation) in [
        ("validity", "399d", "validity_too_long"),
        ("validity", "36500d", "validity_too_long"),
        ("validity", "1s", "validity_too_short"),
        ("validity", "299s", "validity_too_short"),
        ("not_after", "2000-01-01T00:00:00Z", "validity_too_short"),
        ("not_after", "9999-12-31T23:59:59Z", "validity_too_long"),
    ] {
        let mut body = json!({"csr": good().pem(), "profile": "server"});
        body[field] = json!(value);
        let mut violations = vec![violation];
        if value.starts_with("9999") || value == "36500d" {
            violations.push("validity_beyond_issuer");
        }
        table.violates(format!("{field} {value}"), &body, &violations);
    }
    put(table, "long", &json!({"validity": {"default": "30d", "maximum": "3650d"}, "dns": {"allow": ["**.internal"]}}));
    let body = json!({"csr": good().pem(), "profile": "long", "validity": "3000d"});
    table.violates("beyond the issuer's end", &body, &["validity_beyond_issuer"]);
}

/// A profile with fixed and denied parts, for what the defaults do not have.
fn strict(table: &mut Table<'_>) {
    put(
        table,
        "strict",
        &json!({
            "keys": ["ecdsa-p384"],
            "subject": {"common_name": "forbidden", "allowed": [], "fixed": {"organization": "Example"}},
            "dns": {"allow": ["**.internal"], "deny": ["admin.internal", "**.secret.internal"], "wildcards": true},
        }),
    );
    put(
        table,
        "named",
        &json!({"subject": {"common_name": "required", "allowed": []}, "dns": {"allow": ["**.internal"]}}),
    );
    let refuse = |table: &mut Table<'_>, what: &str, csr: &Csr, violations: &[&'static str]| {
        // Every row has a P-256 key too, which this profile does not list: more than one violation, all reported.
        let all: Vec<&'static str> = ["key_not_allowed"].iter().chain(violations).copied().collect();
        table.violates(what, &json!({"csr": csr.pem(), "profile": "strict"}), &all);
    };
    for name in ["admin.internal", "ADMIN.Internal", "a.secret.internal", "*.internal", "*.secret.internal"] {
        refuse(table, &format!("the denied name {name}"), &Csr::for_dns(&[name]), &["name_denied"]);
    }
    let other = good().subject(&[("2.5.4.10", der::UTF8_STRING, b"Another")]);
    refuse(table, "another organisation than the fixed one", &other, &["subject_fixed_value"]);
    refuse(table, "a forbidden common name", &good().common_name("good.internal"), &["common_name_forbidden"]);
    refuse(
        table,
        "everything at once",
        &Csr::for_dns(&["admin.internal"])
            .common_name("admin.internal")
            .extension("2.5.29.19", true, &der::wrap(der::SEQUENCE, &[der::boolean(true)]))
            .extension("1.3.6.1.4.1.99999.3", false, &[5, 0]),
        &["common_name_forbidden", "name_denied", "ca_not_allowed", "extension_not_allowed"],
    );
    let body = json!({"csr": good().pem(), "profile": "named"});
    table.violates("no common name where one is required", &body, &["common_name_required"]);
}

fn put(table: &Table<'_>, name: &str, document: &Value) {
    table.administrator.put(&format!("/api/v1/profiles/{name}")).json(document).expect(201);
}
