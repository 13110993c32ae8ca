//! Revokes keys by proof of possession.

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::request::{PKCS10, parse_csr};
use super::{JSON, PEM_FILE, State};
use crate::auth::Caller;
use crate::auth::permission::RevokeCertificates;
use crate::ca::key_revocation::{ACTION, KeyProof, RevokedKey};
use crate::error::{Error, Result};
use crate::http::extract::body::unsupported;
use crate::http::extract::{Auth, Parameters, Submission, json};
use crate::x509::jws::JsonWebSignature;

/// The proof that the caller has the key: one of the two.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRevocationRequest)]
pub struct ProofBody {
    /// A certificate signing request made with the key, PEM or base64 of DER. Its common name must be `revoke` and it must ask for no
    /// names, unless the caller may revoke all certificates of the key anyway.
    #[serde(default)]
    pub csr: Option<String>,
    /// A JWS made with the key, which stands in its protected header as `jwk`, over `{"revoke": "<SHA-256 of the subject public key info, or
    /// the serial number of a certificate, hex>", "iat": <Unix seconds, at most ten minutes ago>}`.
    #[serde(default)]
    pub jws: Option<JsonWebSignature>,
}

/// A proof as it came, not yet verified.
#[derive(Clone, Debug)]
pub enum ProofSubmission {
    /// A certificate signing request.
    Csr(Vec<u8>),
    /// A JWS.
    Jws(JsonWebSignature),
}

impl FromRequest for ProofSubmission {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let submission = Submission::from_request(request, payload);
        Box::pin(async move { Self::read(submission.await?) })
    }
}

impl ProofSubmission {
    fn read(submission: Submission) -> Result<Self> {
        match submission.media_type.as_str() {
            JSON => match json::parse(&submission.octets)? {
                ProofBody { csr: Some(csr), jws: None } => Ok(Self::Csr(csr.into_bytes())),
                ProofBody { csr: None, jws: Some(jws) } => Ok(Self::Jws(jws)),
                ProofBody { csr: Some(_), jws: Some(_) } | ProofBody { csr: None, jws: None } => {
                    Err(Error::malformed("give one of `csr` and `jws`"))
                }
            },
            PKCS10 | PEM_FILE => Ok(Self::Csr(submission.octets.to_vec())),
            other => Err(unsupported(other, &[JSON, PKCS10, PEM_FILE])),
        }
    }

    /// Verifies the proof; one that does not hold is written into the audit log.
    ///
    /// # Errors
    /// `BadCsr`; `Malformed`; those of the storage.
    async fn verify(self, state: &State, caller: &Caller) -> Result<KeyProof> {
        match self {
            Self::Csr(octets) => Ok(KeyProof::Csr(Box::new(parse_csr(state, caller, ACTION, &octets).await?))),
            Self::Jws(jws) => match jws.verify() {
                Ok(verified) => Ok(KeyProof::Jws(verified)),
                Err(error) => Err(state.ca.record_refusal(caller, ACTION, String::new(), error).await),
            },
        }
    }
}

/// What became of a key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = KeyRevocation)]
pub struct RevokedKeyDocument {
    /// SHA-256 of the subject public key info, hex.
    #[schema(example = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90")]
    pub spki_sha256: String,
    /// Whether the key is blocked: no certificate is issued for it again. Always `true`.
    pub key_blocked: bool,
    /// The serial numbers of its unexpired certificates that are revoked as `key_compromise`, by this request or one before; at most 1000 with
    /// the others.
    pub revoked: Vec<String>,
    /// The serial numbers of its unexpired certificates that had been revoked for another reason, which stays.
    pub already_revoked: Vec<String>,
}

impl From<RevokedKey> for RevokedKeyDocument {
    fn from(key: RevokedKey) -> Self {
        let texts = |serials: &[crate::x509::SerialNumber]| serials.iter().map(ToString::to_string).collect();
        Self {
            spki_sha256: hex::encode(key.spki_sha256),
            key_blocked: true,
            revoked: texts(&key.revoked),
            already_revoked: texts(&key.already_revoked),
        }
    }
}

/// Revokes a key by proof of possession.
///
/// Whoever has a key may have it declared compromised: every certificate of it that is neither expired nor revoked is revoked as
/// `key_compromise`, whoever asked for it and whichever issuer signed it, and the key is never certified again, also when no certificate here has it.
/// The proof is a CSR (JSON, or raw in DER, PEM or base64) or a JWS made with the key. A CSR is no secret, so a requester that does not own
/// all certificates of the key needs one that was made for this: `openssl req -new -key KEY.pem -subj /CN=revoke`. Keys of the service itself
/// are revoked by administrators only. Again it changes nothing and gives the same answer.
#[utoipa::path(
    post, path = "/api/v1/revocations/by-key", operation_id = "revokeKey", tag = "certificates",
    request_body(description = "The proof.", content(
        (ProofBody = "application/json", example = json!({"csr": "-----BEGIN CERTIFICATE REQUEST-----\nMIH...\n-----END CERTIFICATE REQUEST-----\n"})),
        (String = "application/pkcs10", example = json!("-----BEGIN CERTIFICATE REQUEST-----\nMIH...\n-----END CERTIFICATE REQUEST-----\n")),
        (String = "application/x-pem-file", example = json!("-----BEGIN CERTIFICATE REQUEST-----\nMIH...\n-----END CERTIFICATE REQUEST-----\n")),
    )),
    responses((status = 200, description = "The key and its certificates.", body = RevokedKeyDocument, example = json!({
        "spki_sha256": "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
        "key_blocked": true,
        "revoked": ["0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"],
        "already_revoked": [],
    })))
)]
pub async fn revoke_key(
    authorization: Auth<RevokeCertificates>,
    state: State,
    _query: Parameters<()>,
    submission: ProofSubmission,
) -> Result<HttpResponse> {
    let proof = submission.verify(&state, authorization.caller()).await?;
    let key = state.ca.revoke_key(&authorization, &proof).await?;
    // Its certificates may be client certificates that are believed right now.
    state.authenticator.forget_all();
    Ok(HttpResponse::Ok().json(RevokedKeyDocument::from(key)))
}
