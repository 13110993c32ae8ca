//! Profiles as versioned objects.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::{NamePage, NamePageParameters, State};
use crate::auth::permission::{ManageProfiles, ReadProfiles};
use crate::ca::profiles::ActiveProfile;
use crate::error::{Error, Result};
use crate::http::cursor::Listing;
use crate::http::extract::{Auth, Fields, FromFields, JsonBody, Parameters, RequestBody, json as strict};
use crate::http::problem::shorten;
use crate::policy::Profile;
use crate::storage::ProfileOrigin;
use crate::x509::Timestamp;

/// A version of a profile.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ProfileVersion)]
pub struct ProfileDocument {
    /// The name.
    #[schema(example = "server")]
    pub name: String,
    /// The version, from 1.
    #[schema(example = 1)]
    pub version: i32,
    /// Who wrote it; those of the configuration file cannot be changed here.
    pub origin: ProfileOrigin,
    /// The principal.
    #[schema(example = "token:admin")]
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// The document, as `PUT` takes it.
    pub document: Profile,
}

/// A page of profiles.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ProfilePage)]
pub struct Page {
    /// The profiles by name, each in its present version.
    pub items: Vec<ProfileDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

impl ProfileDocument {
    fn of(profile: &ActiveProfile) -> Self {
        Self {
            name: profile.record.name.clone(),
            version: profile.record.version,
            origin: profile.record.origin,
            created_by: profile.record.created_by.clone(),
            created_at: profile.record.created_at,
            document: profile.compiled.profile().clone(),
        }
    }
}

/// Lists the profiles.
///
/// The present version of each, by name.
#[utoipa::path(
    get, path = "/api/v1/profiles", operation_id = "listProfiles", tag = "profiles", params(NamePageParameters),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadProfiles>, state: State, page: Parameters<NamePage>) -> Result<HttpResponse> {
    let profiles = state.ca.list_profiles(&authorization);
    let (profiles, next_cursor) = page.0.cut(Listing::Profiles, profiles, |profile| &profile.record.name)?;
    let items = profiles.iter().map(ProfileDocument::of).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// Which version of a profile.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// The version, also of a deleted profile; the present one if absent.
    #[param(minimum = 1, example = 1)]
    pub version: Option<i32>,
}

impl FromFields for VersionQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { version: fields.parsed("version")? })
    }
}

/// Reads a profile.
///
/// Its present version, or the one asked for: every certificate names the version under which it was issued.
#[utoipa::path(
    get, path = "/api/v1/profiles/{name}", operation_id = "readProfile", tag = "profiles",
    params(("name" = String, Path, description = "The profile's name.", example = "server"), VersionQuery),
    responses((status = 200, description = "The profile.", body = ProfileDocument, headers(("ETag" = String, description = "The version, for `If-Match`.")), example = json!(example())))
)]
pub async fn read(
    authorization: Auth<ReadProfiles>,
    state: State,
    path: web::Path<String>,
    query: Parameters<VersionQuery>,
) -> Result<HttpResponse> {
    let profile = state.ca.profile(&authorization, &path, query.0.version).await?;
    Ok(answer(HttpResponse::Ok(), &profile))
}

/// Describes the precondition to the OpenAPI document.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `expected_version` reads")]
pub struct IfMatchHeader {
    /// The version to be replaced, as `ETag` gave it; with another present version nothing is written.
    #[param(rename = "If-Match", pattern = "^\"[0-9]+\"$", example = "\"1\"")]
    version: Option<String>,
}

/// A profile document as it comes, before its name is settled.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct ProfileBody(serde_json::Map<String, Value>);

impl RequestBody for ProfileBody {}

impl ProfileBody {
    /// Puts in the name of the path, which a name in the document must match.
    fn into_profile(mut self, name: &str) -> Result<Profile> {
        match self.0.get("name") {
            None => {
                self.0.insert("name".to_owned(), Value::String(name.to_owned()));
            }
            Some(Value::String(given)) if given == name => {}
            Some(other) => {
                let other = shorten(&other.to_string());
                return Err(Error::malformed(format!(
                    "the document's `name` is {other}, but the path says `{}`",
                    shorten(name)
                )));
            }
        }
        let octets = serde_json::to_vec(&self.0)
            .map_err(|error| Error::internal("a JSON value cannot be encoded").with_source(error))?;
        strict::parse(&octets)
    }
}

/// Creates a profile or a new version of it.
///
/// The body is the whole document; `name` may be left out. An equal document changes nothing. With `If-Match` it is written only over that version.
/// Certificates issued before keep the version under which they were issued.
#[utoipa::path(
    put, path = "/api/v1/profiles/{name}", operation_id = "putProfile", tag = "profiles",
    params(
        ("name" = String, Path, description = "The profile's name.", example = "server"),
        IfMatchHeader,
    ),
    request_body(content = Profile, description = "The document.", example = json!(document_example())),
    responses(
        (status = 200, description = "The present version, new or as it was.", body = ProfileDocument, headers(("ETag" = String, description = "The version.")), example = json!(example())),
        (status = 201, description = "The profile, which is new.", body = ProfileDocument, headers(("ETag" = String, description = "The version.")), example = json!(example())),
    )
)]
pub async fn put(
    authorization: Auth<ManageProfiles>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    _query: Parameters<()>,
    body: JsonBody<ProfileBody>,
) -> Result<HttpResponse> {
    let expected_version = expected_version(&request)?;
    let profile = body.value.into_profile(&path)?;
    let put = state.ca.put_profile(&authorization, profile, expected_version).await?;
    let response = if put.created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(answer(response, &put.profile))
}

/// Deletes a profile.
///
/// Nothing can be issued under it any more; its versions stay for the record.
#[utoipa::path(
    delete, path = "/api/v1/profiles/{name}", operation_id = "deleteProfile", tag = "profiles",
    params(("name" = String, Path, description = "The profile's name.", example = "server")),
    responses((status = 204, description = "It is deleted."))
)]
pub async fn delete(
    authorization: Auth<ManageProfiles>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    state.ca.delete_profile(&authorization, &path).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(mut response: actix_web::HttpResponseBuilder, profile: &ActiveProfile) -> HttpResponse {
    response.insert_header((header::ETAG, format!("\"{}\"", profile.record.version))).json(ProfileDocument::of(profile))
}

/// Reads the version of `If-Match`. Other preconditions are refused: to ignore one would be to overwrite what the client wants kept.
fn expected_version(request: &HttpRequest) -> Result<Option<i32>> {
    for name in [header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE, header::IF_MODIFIED_SINCE] {
        if request.headers().contains_key(&name) {
            return Err(Error::malformed(format!(
                "the header `{name}` is not taken here; use `If-Match` with a version"
            )));
        }
    }
    let mut values = request.headers().get_all(header::IF_MATCH);
    let Some(value) = values.next() else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    match (version, values.next()) {
        (Some(version), None) => Ok(Some(version)),
        _ => Err(Error::malformed("the header `If-Match` must be one version in quotes, such as `\"3\"`")),
    }
}

fn document_example() -> Value {
    json!({
        "name": "server",
        "issuer": "issuing",
        "validity": {"default": "90d", "maximum": "398d", "minimum": "5m", "backdate": "5m", "beyond_issuer": "refuse"},
        "keys": ["ecdsa-p256", "ed25519", "rsa-2048"],
        "key_usage": ["digital_signature"],
        "extended_key_usage": {"required": ["server_auth"], "allowed": ["server_auth"]},
        "subject": {"common_name": "optional", "allowed": ["organization"], "fixed": {}},
        "common_name_in_names": true,
        "names_required": true,
        "dns": {"allow": ["localhost", "*.svc.example.com", "**.internal"], "deny": ["admin.internal"], "wildcards": false, "underscores": false, "maximum": 100},
    })
}

fn example() -> Value {
    json!({
        "name": "server",
        "version": 1,
        "origin": "default",
        "created_by": "system",
        "created_at": "2030-01-01T00:00:00Z",
        "document": document_example(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    fn version(headers: &[(&str, &str)]) -> Result<Option<i32>> {
        let mut request = TestRequest::put();
        for header in headers {
            request = request.append_header(*header);
        }
        expected_version(&request.to_http_request())
    }

    #[test]
    fn if_match_names_one_version() {
        assert_eq!(version(&[]).unwrap(), None);
        assert_eq!(version(&[("If-Match", "\"3\"")]).unwrap(), Some(3));
        for bad in ["3", "*", "W/\"3\"", "\"a\"", "\"3\", \"4\"", ""] {
            assert!(version(&[("If-Match", bad)]).is_err(), "{bad}");
        }
        assert!(version(&[("If-Match", "\"3\""), ("If-Match", "\"4\"")]).is_err());
    }

    #[test]
    fn preconditions_that_are_not_kept_are_refused() {
        assert!(version(&[("If-None-Match", "*")]).is_err());
    }

    #[test]
    fn the_name_comes_from_the_path_and_must_match() {
        let profile = |text: &str| {
            let body: ProfileBody = strict::parse(text.as_bytes()).unwrap();
            body.into_profile("server")
        };
        assert_eq!(profile("{}").unwrap().name, "server");
        assert_eq!(profile(r#"{"name": "server"}"#).unwrap().name, "server");
        assert!(profile(r#"{"name": "client"}"#).unwrap_err().detail().contains("`server`"));
        assert!(profile(r#"{"name": 5}"#).is_err());
        assert!(
            profile(r#"{"colour": "red"}"#)
                .unwrap_err()
                .detail()
                .starts_with("unknown field `colour`; known are `name`")
        );
    }
}
