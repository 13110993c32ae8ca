//! Tells callers who they are.

use actix_web::HttpResponse;
use serde::Serialize;

use crate::auth::permission::Inspect;
use crate::auth::{Method, Permission, Role};
use crate::error::Result;
use crate::http::extract::{Auth, Parameters};
use crate::policy::grants::GrantsDocument;

/// Who the caller is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Caller)]
pub struct CallerDocument {
    /// The principal, as in the audit log and in `requester` of certificates.
    #[schema(example = "token:deploy")]
    pub principal: String,
    /// How it was proven: `api_token`, `jwt` or `client_certificate`.
    #[schema(value_type = String, example = "api_token")]
    pub method: Method,
    /// The role.
    pub role: Role,
    /// What the role may do.
    #[schema(example = json!(["certificates.issue", "certificates.read"]))]
    pub permissions: Vec<&'static str>,
    /// What the caller may have signed, a further restriction.
    pub grants: GrantsDocument,
    /// The client's address as the service sees it.
    #[schema(example = "192.0.2.7")]
    pub remote_address: Option<String>,
}

/// Tells who the caller is.
///
/// The principal that the credential proves, its role, permissions and grants. Every authenticated caller may ask.
#[utoipa::path(
    get, path = "/api/v1/whoami", operation_id = "whoami", tag = "tools",
    responses((status = 200, description = "The caller.", body = CallerDocument, example = json!({
        "principal": "token:deploy",
        "method": "api_token",
        "role": "requester",
        "permissions": ["certificates.issue", "certificates.read", "certificates.revoke", "certificates.renew", "inspect"],
        "grants": {"profiles": ["server"]},
        "remote_address": "192.0.2.7",
    })))
)]
pub async fn read(authorization: Auth<Inspect>, _query: Parameters<()>) -> Result<HttpResponse> {
    let caller = authorization.caller();
    let role = caller.principal.role;
    let may = |permission: &&Permission| permission.roles().contains(&role);
    Ok(HttpResponse::Ok().json(CallerDocument {
        principal: caller.principal.name.clone(),
        method: caller.principal.method,
        role,
        permissions: Permission::ALL.iter().filter(may).map(|permission| permission.as_str()).collect(),
        grants: caller.principal.grants.document().clone(),
        remote_address: caller.remote_address.clone(),
    }))
}
