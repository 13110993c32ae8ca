//! What each fuzz target does with its input: everything that an untrusted peer or a careless operator can have parsed.
//!
//! A target says whether it understood its input in any way, so that a corpus that no longer reaches anything is noticed. It finds a panic, an overflow, memory or time without bounds, and the properties that it asserts. The replay of the corpus
//! (`tests/it/fuzz.rs`) runs the very same functions.

use chancery::ca::acme::accounts::{AccountUpdate, NewAccountRequest};
use chancery::ca::acme::orders::NewOrderRequest;
use chancery::ca::acme::revocation::RevokeRequest;
use chancery::http::extract::json;
use chancery::policy::acme::Identifier;
use chancery::policy::grants::GrantsDocument;
use chancery::policy::names::{NameRules, NameSections};
use chancery::policy::profile::{DnsSection, NameSection};
use chancery::policy::{CompiledProfile, Grants, Profile};
use chancery::protocols::rest;
use chancery::signer::import;
use chancery::x509::jws::{
    AccountKey, FlattenedSignature, JsonWebSignature, KeyChange, KeyReference, MacRequest, OfferedKey, SignedRequest,
};
use chancery::x509::ocsp::OcspRequest;
use chancery::x509::{CertificateRequest, NameType, SubjectAltName, inspect};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

/// Takes octets, and tells whether they were understood.
type Target = fn(&[u8]) -> bool;

/// The targets by name.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("acme_bodies", acme_bodies),
    ("acme_jws", acme_jws),
    ("csr", csr),
    ("json_bodies", json_bodies),
    ("key_import", key_import),
    ("name_rules", name_rules),
    ("ocsp_request", ocsp_request),
];

/// The address that requests in the corpus are signed for.
const URL: &str = "https://ca.test/acme/new-account";
/// A key for MACs.
const SECRET: [u8; 64] = [0x5a; 64];
/// The account key of those requests in the corpus that only name an account (RFC 8037, appendix A.2).
const ACCOUNT: &str = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn account_key() -> AccountKey {
    AccountKey::from_stored(ACCOUNT).expect("the key of the RFC")
}

/// Requests of ACME clients, the JWS in them, and JSON Web Keys.
fn acme_jws(data: &[u8]) -> bool {
    let mut understood = false;
    if let Ok(request) = SignedRequest::parse(data) {
        assert!(!request.nonce().is_empty());
        let verified = match request.key() {
            KeyReference::Jwk(offered) => {
                check_key(offered);
                request.verify_with_jwk()
            }
            KeyReference::Kid(_) => request.verify(account_key().public_key()),
        };
        if let Ok(verified) = verified {
            drop(KeyChange::verify(verified.payload(), verified.url()));
            understood = true;
        }
    }
    if let Ok(change) = KeyChange::verify(data, URL) {
        drop(change.for_account(URL, &account_key()));
        understood = true;
    }
    if let Ok(signature) = serde_json::from_slice::<JsonWebSignature>(data) {
        understood |= signature.verify().is_ok();
    }
    if let Ok(binding) = serde_json::from_slice::<FlattenedSignature>(data) {
        understood |= check_binding(&binding);
    }
    if let Ok(offered) = OfferedKey::from_jwk(data) {
        check_key(&offered);
        understood = true;
    }
    understood
}

fn check_key(offered: &OfferedKey) {
    let again = OfferedKey::from_jwk(offered.jwk().as_bytes()).expect("the canonical form is a key");
    assert_eq!(&again, offered);
    if let Ok(account_key) = offered.clone().into_account_key() {
        assert_eq!(AccountKey::from_stored(account_key.jwk()).expect("a stored key is a key"), account_key);
    }
}

fn check_binding(binding: &FlattenedSignature) -> bool {
    let Ok(request) = MacRequest::parse(binding) else {
        return false;
    };
    assert!(!request.key_id().is_empty());
    request.verify(&SECRET, URL, &account_key()).is_ok()
}

/// The payloads of requests of ACME clients.
fn acme_bodies(data: &[u8]) -> bool {
    let account = serde_json::from_slice::<NewAccountRequest>(data);
    if let Ok(NewAccountRequest { external_account_binding: Some(binding), .. }) = &account
        && let Ok(binding) = serde_json::from_value::<FlattenedSignature>(binding.clone())
    {
        check_binding(&binding);
    }
    let update = serde_json::from_slice::<AccountUpdate>(data);
    let revocation = serde_json::from_slice::<RevokeRequest>(data);
    let order = serde_json::from_slice::<NewOrderRequest>(data);
    for written in order.iter().flat_map(|order| &order.identifiers) {
        if let Ok(identifier) = Identifier::parse(written) {
            let again = Identifier::parse(&identifier.written()).expect("the normal form is an identifier");
            assert_eq!(again, identifier);
            identifier.subject_alt_name().expect("an identifier is a name");
        }
    }
    account.is_ok() || update.is_ok() || revocation.is_ok() || order.is_ok()
}

/// Certificate signing requests, and whatever else `inspect` shows.
fn csr(data: &[u8]) -> bool {
    let request = CertificateRequest::parse(data);
    if let Ok(request) = &request {
        let again = CertificateRequest::parse(request.as_der()).expect("what was parsed can be parsed");
        assert_eq!(again.public_key(), request.public_key());
        drop(request.public_key().weaknesses());
    }
    let inspected = inspect::inspect(data);
    request.is_ok() || inspected.is_ok()
}

/// The bodies of the REST API.
fn json_bodies(data: &[u8]) -> bool {
    fn read<T: DeserializeOwned>(data: &[u8], understood: &mut bool) {
        *understood |= json::parse::<T>(data).is_ok();
    }
    let mut understood = false;
    read::<rest::certificate_import::ImportBody>(data, &mut understood);
    read::<rest::inspect::InspectionBody>(data, &mut understood);
    read::<rest::issuers::creation::IssuerBody>(data, &mut understood);
    read::<rest::issuers::lifecycle::CertificateBody>(data, &mut understood);
    read::<rest::issuers::lifecycle::CrossSigningBody>(data, &mut understood);
    read::<rest::issuers::lifecycle::RolloverBody>(data, &mut understood);
    read::<rest::issuers::lifecycle::UpdateBody>(data, &mut understood);
    read::<rest::key_revocation::ProofBody>(data, &mut understood);
    read::<rest::renewal::RenewalBody>(data, &mut understood);
    read::<rest::request::IssuanceBody>(data, &mut understood);
    read::<rest::revocation::BulkBody>(data, &mut understood);
    read::<rest::revocation::RevocationBody>(data, &mut understood);
    read::<rest::tokens::TokenBody>(data, &mut understood);
    if let Ok(profile) = json::parse::<Profile>(data) {
        let written = serde_json::to_vec(&profile).expect("a profile can be written");
        assert_eq!(json::parse::<Profile>(&written).expect("a written profile can be read"), profile);
        understood |= CompiledProfile::compile(profile).is_ok();
    }
    if let Ok(grants) = json::parse::<GrantsDocument>(data) {
        understood |= Grants::compile(grants).is_ok();
    }
    understood
}

/// Private keys and PKCS #12 stores that operators import; the first line is the passphrase.
fn key_import(data: &[u8]) -> bool {
    let (passphrase, input) = match data.iter().position(|octet| *octet == b'\n') {
        Some(end) => (std::str::from_utf8(&data[..end]).ok(), &data[end + 1..]),
        None => (None, data),
    };
    let passphrase = passphrase.filter(|text| !text.is_empty()).map(SecretString::from);
    let key = import::decode(input, passphrase.as_ref());
    key.is_ok() || import::decode_pkcs12(input, passphrase.as_ref()).is_ok()
}

/// Rules for names, and names. A line is a type (`d`, `i`, `u`, `e`), a sign and a text: `d+**.internal` allows, `d-x.internal` denies,
/// `d=www.internal` is a name.
fn name_rules(data: &[u8]) -> bool {
    const LINES: usize = 64;
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let (mut allowing, mut denying, mut names) = (NameSections::default(), NameSections::default(), Vec::new());
    for line in text.lines().take(LINES) {
        let mut characters = line.chars();
        let (kind, sign) = (characters.next(), characters.next());
        let value = characters.as_str().to_owned();
        let name_type = match kind {
            Some('d') => NameType::Dns,
            Some('i') => NameType::Ip,
            Some('u') => NameType::Uri,
            Some('e') => NameType::Email,
            _ => continue,
        };
        match sign {
            Some('=') => names.extend(SubjectAltName::parse(name_type, &value)),
            Some('+') => {
                allow(&mut allowing, name_type, &value);
                allow(&mut denying, name_type, &value);
            }
            Some('-') => deny(&mut denying, name_type, &value),
            _ => {}
        }
    }
    for name in &names {
        let again = SubjectAltName::parse(name.name_type(), &name.value()).expect("the normal form is a name");
        assert_eq!(&again, name);
    }
    let (Ok(allowing), Ok(denying)) = (NameRules::compile(&allowing), NameRules::compile(&denying)) else {
        return false;
    };
    let mut admitted = false;
    for name in names {
        let name = [name];
        let refused_before = !allowing.violations(&name, &[], "fuzz").is_empty();
        let refused_now = !denying.violations(&name, &[], "fuzz").is_empty();
        assert!(refused_now || !refused_before, "a denial admits {name:?}");
        admitted |= !refused_now;
    }
    admitted
}

fn dns(sections: &mut NameSections) -> &mut DnsSection {
    sections.dns.get_or_insert_with(|| DnsSection { wildcards: true, ..DnsSection::default() })
}

fn other(sections: &mut NameSections, name_type: NameType) -> &mut NameSection {
    match name_type {
        NameType::Ip => sections.ip.get_or_insert_default(),
        NameType::Uri => sections.uri.get_or_insert_default(),
        _ => sections.email.get_or_insert_default(),
    }
}

fn allow(sections: &mut NameSections, name_type: NameType, pattern: &str) {
    let list = match name_type {
        NameType::Dns => &mut dns(sections).allow,
        _ => &mut other(sections, name_type).allow,
    };
    list.push(pattern.to_owned());
}

fn deny(sections: &mut NameSections, name_type: NameType, pattern: &str) {
    let list = match name_type {
        NameType::Dns => &mut dns(sections).deny,
        _ => &mut other(sections, name_type).deny,
    };
    list.push(pattern.to_owned());
}

/// OCSP requests.
fn ocsp_request(data: &[u8]) -> bool {
    let Ok(request) = OcspRequest::from_der(data) else {
        return false;
    };
    assert!(!request.cert_ids.is_empty());
    for id in &request.cert_ids {
        drop(id.serial_number());
    }
    true
}
