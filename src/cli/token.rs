//! `chancery token`: makes, lists and revokes API tokens, directly in the database. A running service sees the change within seconds.

use std::process::ExitCode;

use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{block_on, print_json};
use crate::app;
use crate::auth::permission::{ManageTokens, ReadTokens};
use crate::auth::{Authorized, Caller, Role};
use crate::ca::tokens::TokenRequest;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::policy::duration;
use crate::policy::grants::GrantsDocument;
use crate::storage::TokenRecord;

/// How many tokens one query reads.
const PAGE: u16 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token and print its secret, this once.
    Create {
        /// The name: 1 to 63 of `a-z 0-9 - _ .`; the principal is `token:<name>`.
        name: String,
        /// `administrator`, `operator`, `requester` or `auditor`.
        #[arg(long)]
        role: Role,
        /// A profile it may use (repeatable); all if absent.
        #[arg(long = "profile")]
        profiles: Vec<String>,
        /// An issuer it may use (repeatable); all if absent.
        #[arg(long = "issuer")]
        issuers: Vec<String>,
        /// Its grants as JSON, instead of --profile and --issuer: `{"profiles": [...], "issuers": [...], "names": {"dns": {"allow": [...]}}}`.
        #[arg(long, conflicts_with_all = ["profiles", "issuers"])]
        grants: Option<String>,
        /// How long it is valid, such as `90d`; for ever if absent.
        #[arg(long)]
        validity: Option<String>,
    },
    /// List the tokens, never their secrets.
    List,
    /// Revoke a token.
    Revoke {
        /// The id, as listed.
        id: String,
    },
}

pub(super) fn run(config: Config, command: Command) -> Result<ExitCode> {
    block_on(async move {
        let ca = app::open(&config).await?;
        let caller = Caller::internal("command-line");
        match command {
            Command::Create { name, role, profiles, issuers, grants, validity } => {
                let grants = match grants {
                    Some(text) => serde_json::from_str(&text).map_err(|error| {
                        Error::malformed(format!("the grants are not valid: {error}")).with_source(error)
                    })?,
                    None => GrantsDocument { profiles: some(profiles), issuers: some(issuers), names: None },
                };
                let validity = validity.as_deref().map(duration::parse).transpose()?;
                let expires_at = validity.map(|validity| ca.clock().now() + validity);
                let request = TokenRequest { name, role, grants, expires_at, idempotency: None };
                let created = ca.create_token(&Authorized::<ManageTokens>::check(caller)?, request).await?;
                let mut shown = described(&created.token);
                if let Value::Object(map) = &mut shown {
                    map.insert("token".to_owned(), json!(created.secret.expose_secret()));
                }
                print_json(&shown)?;
            }
            Command::List => {
                let authorization = Authorized::<ReadTokens>::check(caller)?;
                let mut items = Vec::new();
                let mut before = None;
                loop {
                    let page = ca.tokens(&authorization, before, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    before = Some(last.row);
                    items.extend(page.iter().map(described));
                }
                print_json(&json!({ "items": items }))?;
            }
            Command::Revoke { id } => {
                let revoked = ca.revoke_token(&Authorized::<ManageTokens>::check(caller)?, &id).await?;
                print_json(&described(&revoked))?;
            }
        }
        ca.storage().close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn some(values: Vec<String>) -> Option<Vec<String>> {
    (!values.is_empty()).then_some(values)
}

fn described(token: &TokenRecord) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "grants": serde_json::from_str::<Value>(&token.grants).unwrap_or_else(|_unparsable| json!(token.grants)),
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    })
}
