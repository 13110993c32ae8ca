//! Creates issuers.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use const_oid::ObjectIdentifier;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};

use super::IssuerDocument;
use super::document::example;
use crate::auth::Authorized;
use crate::auth::permission::ManageIssuers;
use crate::ca::CertificateAuthority;
use crate::ca::issuance::Idempotency;
use crate::ca::issuers::certify::CaBounds;
use crate::ca::issuers::creation::{IssuerRequest, IssuerSigner};
use crate::ca::issuers::key_making::NewKeyPlace;
use crate::ca::issuers::{AnyIssuer, ChangedIssuer};
use crate::ca::settings::{IssuerCrlSettings, IssuerOcspSettings, IssuerSettings, IssuerUrls};
use crate::error::{Error, Result};
use crate::http::extract::json;
use crate::http::extract::{Auth, IdempotencyHeader, JsonBody, Parameters, RequestBody};
use crate::protocols::rest::State;
use crate::protocols::rest::issuer_import::ImportedIssuerBody;
use crate::protocols::rest::request::{optional_duration, validity};
use crate::x509::{
    DistinguishedName, ExtendedKeyUsage, KeyAlgorithm, NameConstraints, NameConstraintsDocument, Timestamp,
};

/// An issuer to be created.
#[derive(Clone, Debug, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = IssuerRequest)]
pub enum IssuerBody {
    /// A root, which signs its own certificate.
    #[schema(title = "RootRequest")]
    Root(RootBody),
    /// A CA below an issuer here, or one whose certificate somebody outside is to sign.
    #[schema(title = "SubordinateRequest")]
    Subordinate(SubordinateBody),
    /// A CA that was run elsewhere.
    #[schema(title = "ImportRequest")]
    Import(Box<ImportedIssuerBody>),
}

impl RequestBody for IssuerBody {}

impl<'de> Deserialize<'de> for IssuerBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::by_kind(deserializer, &["root", "subordinate", "import"], |kind, value| match kind {
            "root" => Some(serde_path_to_error::deserialize(value).map(Self::Root)),
            "subordinate" => Some(serde_path_to_error::deserialize(value).map(Self::Subordinate)),
            "import" => Some(serde_path_to_error::deserialize(value).map(Self::Import)),
            _ => None,
        })
    }
}

/// A root to be created.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RootRequest)]
pub struct RootBody {
    /// The name: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
    #[schema(example = "root-2030")]
    pub name: String,
    /// The subject, RFC 4514 (most specific first) or with slashes as OpenSSL writes it; no other issuer may have it.
    #[schema(example = "CN=Example Root CA,O=Example,C=SE")]
    pub subject: String,
    /// Its key; ECDSA on P-256 in the database if absent.
    #[serde(default)]
    pub key: KeyBody,
    /// How long it is valid from now; 10 years if this and `not_after` are absent.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "3650d")]
    pub validity: Option<Duration>,
    /// When it ends, instead of `validity`.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// How many CAs may follow below it; any number if absent.
    #[serde(default)]
    #[schema(example = 1)]
    pub path_length: Option<u8>,
    /// The names that certificates below it may and may not have.
    #[serde(default)]
    pub name_constraints: Option<NameConstraintsDocument>,
    /// The certificate policies, dotted identifiers.
    #[serde(default, deserialize_with = "identifiers")]
    #[schema(value_type = Vec<String>, example = json!([]))]
    pub certificate_policies: Vec<ObjectIdentifier>,
    /// The extended key usages that certificates below it may have; any if absent.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!([]))]
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    /// `active`, or `staged`: it exists and signs nothing for others yet.
    #[serde(default)]
    pub state: InitialState,
    /// Whether it becomes the default issuer.
    #[serde(default)]
    pub default: bool,
    /// Its CRLs.
    #[serde(default)]
    pub crl: IssuerCrlSettings,
    /// Its OCSP answers.
    #[serde(default)]
    pub ocsp: IssuerOcspSettings,
    /// The addresses that it writes into certificates.
    #[serde(default)]
    pub urls: IssuerUrls,
}

/// A subordinate CA to be created.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubordinateRequest)]
pub struct SubordinateBody {
    /// The name: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
    #[schema(example = "web")]
    pub name: String,
    /// The active issuer that signs it; left out with `outside`.
    #[serde(default)]
    #[schema(example = "root")]
    pub parent: Option<String>,
    /// Whether somebody outside signs it: the request is at `/issuers/{name}/csr`, and the certificate goes to `/issuers/{name}/certificate`.
    #[serde(default)]
    pub outside: bool,
    /// The subject, RFC 4514 (most specific first) or with slashes as OpenSSL writes it; no other issuer may have it.
    #[schema(example = "CN=Example Web CA,O=Example,C=SE")]
    pub subject: String,
    /// Its key; ECDSA on P-256 in the database if absent.
    #[serde(default)]
    pub key: KeyBody,
    /// How long it is valid from now; 5 years, or until its parent ends, if this and `not_after` are absent.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "1825d")]
    pub validity: Option<Duration>,
    /// When it ends, instead of `validity`.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// How many CAs may follow below it; none if absent.
    #[serde(default)]
    #[schema(example = 0)]
    pub path_length: Option<u8>,
    /// The names that certificates below it may and may not have.
    #[serde(default)]
    pub name_constraints: Option<NameConstraintsDocument>,
    /// The certificate policies, dotted identifiers.
    #[serde(default, deserialize_with = "identifiers")]
    #[schema(value_type = Vec<String>, example = json!(["2.23.140.1.2.1"]))]
    pub certificate_policies: Vec<ObjectIdentifier>,
    /// The extended key usages that certificates below it may have; any if absent.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["server_auth"]))]
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    /// `active`, or `staged`: it exists and signs nothing for others yet.
    #[serde(default)]
    pub state: InitialState,
    /// Whether it becomes the default issuer.
    #[serde(default)]
    pub default: bool,
    /// Its CRLs.
    #[serde(default)]
    pub crl: IssuerCrlSettings,
    /// Its OCSP answers.
    #[serde(default)]
    pub ocsp: IssuerOcspSettings,
    /// The addresses that it writes into certificates.
    #[serde(default)]
    pub urls: IssuerUrls,
}

/// A key to be made.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRequest)]
pub struct KeyBody {
    /// The algorithm, as in profiles; if absent, ECDSA on P-256, or at a rollover that of the present key.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "ecdsa-p384")]
    pub algorithm: Option<KeyAlgorithm>,
    /// Where it is kept; if absent, in the database, or at a rollover as the present key is (a new file, the same token).
    #[serde(default)]
    pub storage: Option<NewKeyStorage>,
    /// The token, by its name in the configuration; with `pkcs11` only.
    #[serde(default)]
    #[schema(example = "hsm")]
    pub token: Option<String>,
}

/// Where a new key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewKeyStorage {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In a file that the service names after the issuer, as encrypted PKCS #8 under `keys.file_passphrase`.
    File,
    /// In a token, which it never leaves, labelled with the issuer's name.
    Pkcs11,
}

/// The state that an issuer begins in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialState {
    /// It signs from now on; the generation before it retires.
    #[default]
    Active,
    /// It exists and signs nothing for others yet.
    Staged,
}

impl KeyBody {
    /// Returns the place that is meant; `None` when none is named.
    ///
    /// # Errors
    /// `Malformed` for `pkcs11` without a token and a token without `pkcs11`.
    pub(super) fn place(&self) -> Result<Option<NewKeyPlace>> {
        match (self.storage, &self.token) {
            (Some(NewKeyStorage::Pkcs11), Some(token)) => Ok(Some(NewKeyPlace::Pkcs11(token.clone()))),
            (Some(NewKeyStorage::Pkcs11), None) => {
                Err(Error::malformed("`key.token` is missing: the token, by its name in the configuration"))
            }
            (None | Some(NewKeyStorage::Database | NewKeyStorage::File), Some(_)) => {
                Err(Error::malformed("`key.token` has no use without `storage`: `pkcs11`"))
            }
            (Some(NewKeyStorage::Database), None) => Ok(Some(NewKeyPlace::Database)),
            (Some(NewKeyStorage::File), None) => Ok(Some(NewKeyPlace::File(None))),
            (None, None) => Ok(None),
        }
    }
}

/// Reads dotted object identifiers.
pub(super) fn identifiers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ObjectIdentifier>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > 32 {
        return Err(de::Error::custom("at most 32 certificate policies are taken"));
    }
    texts
        .iter()
        .map(|text| {
            ObjectIdentifier::new(text).map_err(|_error| {
                let shown = crate::http::problem::shorten(text);
                de::Error::custom(format!("`{shown}` is not a dotted object identifier such as `2.23.140.1.2.1`"))
            })
        })
        .collect()
}

impl RootBody {
    fn into_request(self, idempotency: Option<Idempotency>) -> Result<IssuerRequest> {
        Ok(IssuerRequest {
            name: self.name,
            signed_by: IssuerSigner::Itself,
            subject: subject(&self.subject)?,
            key: self.key.algorithm.unwrap_or(KeyAlgorithm::EcdsaP256),
            place: self.key.place()?.unwrap_or(NewKeyPlace::Database),
            validity: validity(self.validity, self.not_after)?,
            bounds: CaBounds {
                path_length: self.path_length,
                name_constraints: constraints(self.name_constraints.as_ref())?,
                certificate_policies: self.certificate_policies,
                extended_key_usage: self.extended_key_usage,
            },
            staged: self.state == InitialState::Staged,
            is_default: self.default,
            settings: IssuerSettings { crl: self.crl, ocsp: self.ocsp, urls: self.urls },
            idempotency,
        })
    }
}

impl SubordinateBody {
    fn into_request(self, idempotency: Option<Idempotency>) -> Result<IssuerRequest> {
        let signed_by = match (self.parent, self.outside) {
            (Some(parent), false) => IssuerSigner::Issuer(parent),
            (None, true) => IssuerSigner::Outside,
            (None, false) => {
                return Err(Error::malformed("say who signs it: `parent`, an issuer here, or `outside`: true"));
            }
            (Some(_), true) => return Err(Error::malformed("`parent` and `outside` exclude each other")),
        };
        Ok(IssuerRequest {
            name: self.name,
            signed_by,
            subject: subject(&self.subject)?,
            key: self.key.algorithm.unwrap_or(KeyAlgorithm::EcdsaP256),
            place: self.key.place()?.unwrap_or(NewKeyPlace::Database),
            validity: validity(self.validity, self.not_after)?,
            bounds: CaBounds {
                path_length: self.path_length,
                name_constraints: constraints(self.name_constraints.as_ref())?,
                certificate_policies: self.certificate_policies,
                extended_key_usage: self.extended_key_usage,
            },
            staged: self.state == InitialState::Staged,
            is_default: self.default,
            settings: IssuerSettings { crl: self.crl, ocsp: self.ocsp, urls: self.urls },
            idempotency,
        })
    }
}

/// Checks name constraints.
pub(super) fn constraints(document: Option<&NameConstraintsDocument>) -> Result<Option<NameConstraints>> {
    document.map(|document| document.compile("name_constraints")).transpose()
}

fn subject(text: &str) -> Result<DistinguishedName> {
    DistinguishedName::parse(text).map_err(|error| Error::malformed(format!("`subject`: {}", error.detail())))
}

/// Creates an issuer.
///
/// A root or a subordinate CA with a new key. A CA with `outside` waits, staged, for the certificate that somebody else signs: its request is at
/// `/api/v1/issuers/{name}/csr`. `kind: import` takes over a CA that was run elsewhere, from certificate and private key or a PKCS #12 file. Where there is no default issuer, the first active subordinate CA becomes it.
#[utoipa::path(
    post, path = "/api/v1/issuers", operation_id = "createIssuer", tag = "issuers",
    params(IdempotencyHeader),
    request_body(content = IssuerBody, description = "The issuer.", example = json!(request_example())),
    responses((status = 201, description = "The issuer.", body = CreatedDocument, headers(("Location" = String, description = "The issuer's path."), ("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same key created it.")), example = json!(created_example())))
)]
pub async fn create(
    authorization: Auth<ManageIssuers>,
    state: State,
    _query: Parameters<()>,
    body: JsonBody<IssuerBody>,
) -> Result<HttpResponse> {
    let request = match body.value {
        IssuerBody::Root(root) => root.into_request(body.idempotency)?,
        IssuerBody::Subordinate(subordinate) => subordinate.into_request(body.idempotency)?,
        IssuerBody::Import(imported) => return import(&authorization, &state, *imported).await,
    };
    let changed = state.ca.create_issuer(&authorization, request).await?;
    created(&state.ca, &changed)
}

async fn import(
    authorization: &Authorized<ManageIssuers>,
    state: &State,
    body: ImportedIssuerBody,
) -> Result<HttpResponse> {
    let name = body.name.clone();
    let import = match body.decode().await {
        Ok(import) => import,
        Err(error) => return Err(state.ca.refused_import(authorization, &name, error).await),
    };
    let imported = state.ca.import_issuer(authorization, import).await?;
    state.authenticator.forget_all();
    let issuer = AnyIssuer::Ready(imported.issuer);
    let location = format!("/api/v1/issuers/{}", issuer.name());
    let issuer = IssuerDocument::of(&state.ca, &issuer)?;
    let document = CreatedDocument { issuer, warnings: imported.warnings };
    Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(document))
}

/// An issuer that was created.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CreatedIssuer)]
pub struct CreatedDocument {
    /// The issuer.
    #[serde(flatten)]
    pub issuer: IssuerDocument,
    /// What is odd about an imported one, in words.
    pub warnings: Vec<String>,
}

fn created_example() -> Value {
    let mut example = example();
    if let Value::Object(fields) = &mut example {
        fields.insert("warnings".to_owned(), json!([]));
    }
    example
}

/// Answers an issuer, or generation of one, that was created.
///
/// # Errors
/// `Internal` when it cannot be described.
pub(crate) fn created(ca: &CertificateAuthority, changed: &ChangedIssuer) -> Result<HttpResponse> {
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/api/v1/issuers/{}", changed.issuer.reference())));
    if changed.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    let issuer = IssuerDocument::of(ca, &changed.issuer)?;
    Ok(response.json(CreatedDocument { issuer, warnings: Vec::new() }))
}

fn request_example() -> Value {
    json!({
        "kind": "subordinate",
        "name": "web",
        "parent": "root",
        "subject": "CN=Example Web CA,O=Example,C=SE",
        "key": {"algorithm": "ecdsa-p384"},
        "validity": "1825d",
        "path_length": 0,
    })
}
