//! The first certificate: `quickstart`'s own client makes a key and a CSR, obtains a certificate over HTTPS and verifies it.
//!
//! It uses only what any client has: the API's address, the root certificate and a token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::files;
use crate::error::{Error, Result};

/// The name that the first certificate is for.
pub(super) const FIRST_NAME: &str = "localhost";

/// A certificate that was obtained and verified.
#[derive(Debug)]
pub(super) struct FirstCertificate {
    pub(super) serial: String,
    pub(super) not_after: String,
}

/// Where the first certificate comes from and goes to.
#[derive(Debug)]
pub(super) struct Order<'a> {
    /// The API's address, such as `https://127.0.0.1:8443`.
    pub(super) api: &'a str,
    /// The root's PEM file.
    pub(super) root: PathBuf,
    /// An API token.
    pub(super) token: &'a SecretString,
    /// The directory for key, CSR and certificates.
    pub(super) directory: PathBuf,
}

/// Whether an earlier run left a key and a certificate that still verifies.
pub(super) fn is_there(order: &Order<'_>) -> bool {
    order.directory.join("key.pem").exists()
        && order.directory.join("certificate.pem").exists()
        && verify(order).is_ok()
}

/// Makes a key and a CSR and writes both.
pub(super) fn make_request(order: &Order<'_>) -> Result<String> {
    let failed = |error: rcgen::Error| Error::internal("the first CSR could not be made").with_source(error);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new(vec![FIRST_NAME.to_owned()]).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, FIRST_NAME);
    let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(failed)?;
    files::create_directory(&order.directory)?;
    files::write_private(&order.directory.join("key.pem"), key.serialize_pem().as_bytes())?;
    files::write_public(&order.directory.join("csr.pem"), csr.as_bytes())?;
    Ok(csr)
}

/// Sends the CSR, writes what comes back, and returns its serial number and end.
pub(super) async fn obtain(order: &Order<'_>, csr: String) -> Result<FirstCertificate> {
    let client = client(&order.root)?;
    let response = client
        .post(format!("{}/api/v1/certificates?profile=server", order.api))
        .bearer_auth(order.token.expose_secret())
        .header("Content-Type", "application/pkcs10")
        .header("Idempotency-Key", uuid::Uuid::now_v7().to_string())
        .body(csr)
        .send()
        .await
        .map_err(|error| Error::internal(format!("no answer from {}", order.api)).with_source(error))?;
    let status = response.status();
    let answer: Value = response
        .json()
        .await
        .map_err(|error| Error::internal("the answer of the API is not JSON").with_source(error))?;
    if status != reqwest::StatusCode::CREATED {
        return Err(Error::internal(format!("the API answered {status}: {answer}")));
    }
    let leaf = text(&answer, "certificate")?;
    let chain = answer.get("chain").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let full_chain: String = std::iter::once(leaf).chain(chain).collect();
    files::write_public(&order.directory.join("certificate.pem"), leaf.as_bytes())?;
    files::write_public(&order.directory.join("fullchain.pem"), full_chain.as_bytes())?;
    Ok(FirstCertificate {
        serial: text(&answer, "serial")?.to_owned(),
        not_after: text(&answer, "not_after")?.to_owned(),
    })
}

/// Verifies the written chain against the written root as a TLS client would, with webpki.
pub(super) fn verify(order: &Order<'_>) -> Result<()> {
    let certificates = read_certificates(&order.directory.join("fullchain.pem"))?;
    let roots = read_certificates(&order.root)?;
    let (Some((leaf, intermediates)), Some(root)) = (certificates.split_first(), roots.first()) else {
        return Err(Error::internal("the chain or the root file holds no certificate"));
    };
    let refused = |error: webpki::Error| Error::internal("the first certificate does not verify").with_source(error);
    let anchor = anchor_from_trusted_cert(root).map_err(refused)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[anchor],
        intermediates,
        UnixTime::now(),
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(refused)?;
    let name = ServerName::try_from(FIRST_NAME)
        .map_err(|error| Error::internal("the first name is not a DNS name").with_source(error))?;
    leaf.verify_is_valid_for_subject_name(&name).map_err(refused)
}

fn client(root: &Path) -> Result<reqwest::Client> {
    let failed = |error: reqwest::Error| Error::internal("the HTTPS client could not be made").with_source(error);
    let pem = files::read(root)?;
    let root = reqwest::Certificate::from_pem(&pem).map_err(failed)?;
    reqwest::Client::builder()
        .tls_certs_only([root])
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(failed)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| Error::internal(format!("`{}` cannot be read", path.display())).with_source(error))
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str> {
    answer
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::internal(format!("the answer of the API has no `{field}`")))
}
