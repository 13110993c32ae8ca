//! The import of an issuer as JSON carries it: certificate, chain and private key in PEM, or all of it in PKCS #12. The route is `issuers.rs`'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::ca::import::findings::Findings;
use crate::ca::import::issuer::{IssuerImport, certificate_of_key};
use crate::ca::issuers::key_making::NewKeyPlace;
use crate::error::{Error, Result};
use crate::signer::import::{self, ImportedKey};
use crate::storage::IssuerState;
use crate::tasks;
use crate::x509::{Certificate, pem};

/// An issuer that was run elsewhere: `certificate` and `private_key`, or `pkcs12`.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedIssuerBody {
    /// The issuer's name here: 1 to 63 of `a-z 0-9 -`, starting with a letter.
    #[schema(example = "old-ca")]
    pub name: String,
    /// The CA's certificate, PEM; more certificates after it are taken for the chain above it.
    #[serde(default)]
    pub certificate: Option<String>,
    /// The certificates above the CA up to its root, PEM, in any order; none for a root.
    #[serde(default)]
    pub chain: Option<String>,
    /// Whether a chain that does not reach a root is taken.
    #[serde(default)]
    pub incomplete_chain: bool,
    /// The CA's private key, PEM: PKCS #8, PKCS #1 or SEC 1, plain or encrypted in any way that OpenSSL did.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub private_key: Option<SecretString>,
    /// The passphrase of the private key; absent when it is not encrypted.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub passphrase: Option<SecretString>,
    /// A PKCS #12 file with certificate, chain and private key, base64.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub pkcs12: Option<SecretString>,
    /// The password of the PKCS #12 file; absent when it has none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub pkcs12_password: Option<SecretString>,
    /// The state: `active` (if absent), `staged` or `retired`.
    #[serde(default)]
    pub state: Option<IssuerState>,
    /// Whether requests that name no issuer come here; the first issuer of all gets them anyway.
    #[serde(default)]
    pub default: bool,
}

impl ImportedIssuerBody {
    /// Decodes everything; decrypting a key may take seconds and is done on the blocking pool.
    ///
    /// # Errors
    /// `Malformed` naming the field: missing or superfluous ones, what does not parse, a passphrase that is wrong, missing or not needed.
    pub async fn decode(self) -> Result<IssuerImport> {
        tasks::spawn_blocking(move || self.decode_blocking()).await
    }

    fn decode_blocking(self) -> Result<IssuerImport> {
        let mut chain = match &self.chain {
            Some(text) => certificates("chain", text)?,
            None => Vec::new(),
        };
        let (certificate, key) = match (&self.pkcs12, &self.certificate, &self.private_key) {
            (Some(pkcs12), None, None) => {
                superfluous("passphrase", "pkcs12", self.passphrase.is_some())?;
                let (certificate, others, key) = from_pkcs12(pkcs12, self.pkcs12_password.as_ref())?;
                chain.extend(others);
                (certificate, key)
            }
            (None, Some(text), Some(private_key)) => {
                superfluous("pkcs12_password", "private_key", self.pkcs12_password.is_some())?;
                let mut found = certificates("certificate", text)?.into_iter();
                let certificate =
                    found.next().ok_or_else(|| Error::malformed("`certificate`: there is no certificate"))?;
                chain.extend(found);
                let key = import::decode(private_key.expose_secret().as_bytes(), self.passphrase.as_ref())
                    .map_err(|error| of_field("private_key", error))?;
                (certificate, key)
            }
            _ => {
                return Err(Error::malformed(
                    "an issuer is imported from `certificate` and `private_key`, or from `pkcs12`, not both",
                ));
            }
        };
        Ok(IssuerImport {
            name: self.name,
            certificate,
            chain,
            incomplete_chain: self.incomplete_chain,
            key,
            place: NewKeyPlace::Database,
            state: self.state.unwrap_or(IssuerState::Active),
            is_default: self.default,
            findings: Findings::default(),
        })
    }
}

fn from_pkcs12(
    base64: &SecretString,
    password: Option<&SecretString>,
) -> Result<(Certificate, Vec<Certificate>, ImportedKey)> {
    let compact: zeroize::Zeroizing<String> =
        zeroize::Zeroizing::new(base64.expose_secret().chars().filter(|c| !c.is_ascii_whitespace()).collect());
    // The cause shows an octet of what may be a key: it is not passed on.
    let der = STANDARD.decode(compact.as_str()).map_err(|_octet| Error::malformed("`pkcs12` is not base64"))?;
    let der = zeroize::Zeroizing::new(der);
    let key = import::decode_pkcs12(&der, password).map_err(|error| of_field("pkcs12", error))?;
    let (certificate, others) = certificate_of_key(&key).map_err(|error| of_field("pkcs12", error))?;
    Ok((certificate, others, key))
}

fn certificates(field: &str, text: &str) -> Result<Vec<Certificate>> {
    let blocks = pem::decode_matching(text, pem::is_certificate).map_err(|error| of_field(field, error))?;
    let found = blocks.iter().map(|(_, der)| Certificate::from_der(der)).collect::<Result<Vec<_>>>();
    let found = found.map_err(|error| of_field(field, error))?;
    if found.is_empty() {
        return Err(Error::malformed(format!("`{field}` has no `CERTIFICATE` PEM block")));
    }
    Ok(found)
}

fn superfluous(field: &str, beside: &str, is_given: bool) -> Result<()> {
    if is_given {
        return Err(Error::malformed(format!("`{field}` does not belong to `{beside}`; leave it out")));
    }
    Ok(())
}

fn of_field(field: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("`{field}`: {error}")).with_source(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn refusal(json: serde_json::Value) -> String {
        let body: ImportedIssuerBody = serde_json::from_value(json).unwrap();
        body.decode_blocking().unwrap_err().detail().to_owned()
    }

    #[test]
    fn either_certificate_and_key_or_pkcs12_must_be_given() {
        let either = "an issuer is imported from `certificate` and `private_key`, or from `pkcs12`, not both";
        for json in [
            serde_json::json!({"name": "old"}),
            serde_json::json!({"name": "old", "certificate": "x"}),
            serde_json::json!({"name": "old", "private_key": "x"}),
            serde_json::json!({"name": "old", "certificate": "x", "private_key": "x", "pkcs12": "x"}),
        ] {
            assert_eq!(refusal(json), either);
        }
        assert_eq!(
            refusal(serde_json::json!({"name": "old", "pkcs12": "x", "passphrase": "x"})),
            "`passphrase` does not belong to `pkcs12`; leave it out"
        );
        assert_eq!(refusal(serde_json::json!({"name": "old", "pkcs12": "*"})), "`pkcs12` is not base64");
        assert!(
            refusal(serde_json::json!({"name": "old", "pkcs12": "AAAA"})).starts_with("`pkcs12`: it is not a PKCS #12")
        );
        assert_eq!(
            refusal(serde_json::json!({"name": "old", "certificate": "x", "private_key": "x"})),
            "`certificate` has no `CERTIFICATE` PEM block"
        );
        let unknown = serde_json::json!({"name": "old", "key": "x"});
        assert!(serde_json::from_value::<ImportedIssuerBody>(unknown).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let json = serde_json::json!({"name": "old", "private_key": "topsecret", "passphrase": "topsecret", "pkcs12": "topsecret"});
        let body: ImportedIssuerBody = serde_json::from_value(json).unwrap();
        assert!(!format!("{body:?}").contains("topsecret"));
    }
}
