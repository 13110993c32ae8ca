//! An issuer as clients see it, on the network and on the command line.

use serde::Serialize;
use serde_json::{Value, json};

use crate::ca::CertificateAuthority;
use crate::ca::issuer::Issuer;
use crate::ca::issuers::AnyIssuer;
use crate::ca::settings::IssuerSettings;
use crate::error::Result;
use crate::protocols::rest::crls::{self, CrlDocument};
use crate::protocols::rest::record::KeyDocument;
use crate::storage::{IssuerCertificateRecord, IssuerState, KeyLocation};
use crate::x509::{Certificate, CertificateRequest, Timestamp};

/// An issuer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Issuer)]
pub struct IssuerDocument {
    /// The name, the same for every generation.
    #[schema(example = "issuing")]
    pub name: String,
    /// The generation of its key, from 1; each rollover begins another one.
    #[schema(example = 1)]
    pub generation: i32,
    /// The name in the addresses of its certificate and CRLs, which stay the same for ever.
    #[schema(example = "issuing")]
    pub path_name: String,
    /// The name in addresses of the issuer that signed it; null for a root and when somebody outside signed it.
    #[schema(example = "root")]
    pub parent: Option<String>,
    /// The state.
    pub state: IssuerState,
    /// Whether it waits for its first certificate, which somebody outside is to sign.
    pub pending: bool,
    /// Whether requests that name no issuer, under profiles that name none, come here.
    pub default: bool,
    /// Whether a certificate on its chain is revoked or on hold, so that it signs no certificates.
    pub revoked: bool,
    /// The subject, RFC 4514.
    #[schema(example = "CN=Chancery Issuing CA")]
    pub subject: String,
    /// The serial number of its certificate, hex; null while it waits for one.
    pub serial: Option<String>,
    /// Its key.
    pub key: KeyDocument,
    /// Where its key is kept.
    pub key_storage: KeyStorage,
    /// Whether its key is at hand.
    pub can_sign: bool,
    /// The first second of validity; null while it waits for its certificate.
    pub not_before: Option<Timestamp>,
    /// The last second of validity; null while it waits for its certificate.
    pub not_after: Option<Timestamp>,
    /// SHA-256 of its certificate, hex; null while it waits for one.
    pub fingerprint_sha256: Option<String>,
    /// Its certificate, PEM; null while it waits for one.
    pub certificate: Option<String>,
    /// The CA certificates above it, PEM, nearest first, the root last; empty for a root.
    pub chain: Vec<String>,
    /// Its own certificates: the one that stands in chains first, then the others.
    pub certificates: Vec<IssuerCertificateDocument>,
    /// Other chains, for clients that trust another root. The first is `chain?alternate=1`.
    pub alternate_chains: Vec<ChainDocument>,
    /// What differs from the configuration.
    pub settings: IssuerSettings,
    /// Its published CRL; null before the first.
    pub crl: Option<CrlDocument>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStorage {
    /// In the database, sealed.
    Database,
    /// In an encrypted file.
    File,
    /// In a token, by PKCS #11.
    Pkcs11,
}

/// One of the certificates of an issuer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = IssuerCertificate)]
pub struct IssuerCertificateDocument {
    /// The serial number, hex.
    #[schema(example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c2")]
    pub serial: String,
    /// The subject of its issuer, RFC 4514.
    #[schema(example = "CN=Chancery Root CA")]
    pub issued_by: String,
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// SHA-256 of it, hex.
    #[schema(example = "4b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2")]
    pub fingerprint_sha256: String,
    /// Whether it is the one that stands in chains unless another is asked for.
    pub primary: bool,
}

/// Another chain of an issuer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AlternateChain)]
pub struct ChainDocument {
    /// Where it is downloaded.
    #[schema(example = "/api/v1/issuers/issuing.1/chain?alternate=1")]
    pub path: String,
    /// The subject of the certificate at its end, RFC 4514.
    #[schema(example = "CN=Chancery Root CA")]
    pub root: String,
    /// SHA-256 of each of its certificates, hex, the issuer's own first.
    pub fingerprints_sha256: Vec<String>,
}

impl IssuerDocument {
    /// Describes an issuer as it is now.
    ///
    /// # Errors
    /// `Internal` when what is recorded cannot be read.
    pub(crate) fn of(ca: &CertificateAuthority, issuer: &AnyIssuer) -> Result<Self> {
        let record = issuer.record();
        let present = match issuer {
            AnyIssuer::Ready(issuer) => Some(issuer),
            AnyIssuer::Pending(_) => None,
        };
        let certificate = present.map(|issuer| &issuer.certificate);
        let subject = match certificate {
            Some(certificate) => certificate.subject.to_string(),
            None => requested_subject(record.csr.as_deref())?,
        };
        let above = present.and_then(|issuer| issuer.chain.get(1..)).unwrap_or_default();
        Ok(Self {
            name: record.base_name.clone(),
            generation: record.generation,
            path_name: record.name.clone(),
            parent: present.and_then(|issuer| issuer.parent.clone()),
            state: record.state,
            pending: present.is_none(),
            default: record.is_default,
            revoked: present.is_some_and(|issuer| issuer.revoked.is_some()),
            subject,
            serial: certificate.map(|certificate| certificate.serial.to_string()),
            key: KeyDocument { algorithm: record.key_algorithm.clone(), spki_sha256: hex::encode(record.spki_sha256) },
            key_storage: match record.key {
                KeyLocation::Database(_) => KeyStorage::Database,
                KeyLocation::File(_) => KeyStorage::File,
                KeyLocation::Pkcs11(_) => KeyStorage::Pkcs11,
            },
            can_sign: present.is_some_and(|issuer| issuer.can_sign()),
            not_before: certificate.map(|certificate| certificate.not_before),
            not_after: certificate.map(|certificate| certificate.not_after),
            fingerprint_sha256: certificate.map(|certificate| hex::encode(certificate.fingerprint_sha256())),
            certificate: certificate.map(Certificate::to_pem),
            chain: above.iter().map(Certificate::to_pem).collect(),
            certificates: record.certificates.iter().map(IssuerCertificateDocument::of).collect::<Result<_>>()?,
            alternate_chains: present.map(|issuer| alternate_chains(issuer)).unwrap_or_default(),
            settings: IssuerSettings::from_stored(&record.settings)?,
            crl: present.and_then(|issuer| {
                ca.published_crls().of_issuer(record.id).map(|crl| CrlDocument::of(ca, issuer, crl))
            }),
            created_at: record.created_at,
        })
    }
}

impl IssuerCertificateDocument {
    fn of(record: &IssuerCertificateRecord) -> Result<Self> {
        let certificate = Certificate::from_der(&record.der)?;
        Ok(Self {
            serial: certificate.serial.to_string(),
            issued_by: certificate.issuer.to_string(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            fingerprint_sha256: hex::encode(certificate.fingerprint_sha256()),
            primary: record.is_primary,
        })
    }
}

fn alternate_chains(issuer: &Issuer) -> Vec<ChainDocument> {
    let describe = |(index, chain): (usize, &Vec<Certificate>)| ChainDocument {
        path: format!(
            "/api/v1/issuers/{}.{}/chain?alternate={}",
            issuer.name,
            issuer.generation,
            index.saturating_add(1)
        ),
        root: chain.last().map(|root| root.subject.to_string()).unwrap_or_default(),
        fingerprints_sha256: chain.iter().map(|certificate| hex::encode(certificate.fingerprint_sha256())).collect(),
    };
    issuer.alternate_chains.iter().enumerate().map(describe).collect()
}

fn requested_subject(csr: Option<&[u8]>) -> Result<String> {
    csr.map_or_else(|| Ok(String::new()), |csr| Ok(CertificateRequest::parse(csr)?.subject().to_string()))
}

/// Returns the example of an issuer for the OpenAPI document.
pub(super) fn example() -> Value {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n";
    let fingerprint = "4b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2";
    let serial = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c2";
    json!({
        "name": "issuing",
        "generation": 1,
        "path_name": "issuing",
        "parent": "root",
        "state": "active",
        "pending": false,
        "default": true,
        "revoked": false,
        "subject": "CN=Chancery Issuing CA",
        "serial": serial,
        "key": {"algorithm": "ecdsa-p256", "spki_sha256": "b1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"},
        "key_storage": "database",
        "can_sign": true,
        "not_before": "2030-01-01T00:00:00Z",
        "not_after": "2034-12-31T23:59:59Z",
        "fingerprint_sha256": fingerprint,
        "certificate": pem,
        "chain": [pem],
        "certificates": [{
            "serial": serial,
            "issued_by": "CN=Chancery Root CA",
            "not_before": "2030-01-01T00:00:00Z",
            "not_after": "2034-12-31T23:59:59Z",
            "fingerprint_sha256": fingerprint,
            "primary": true,
        }],
        "alternate_chains": [],
        "settings": {},
        "crl": crls::crl_example(),
        "created_at": "2030-01-01T00:05:00Z",
    })
}
