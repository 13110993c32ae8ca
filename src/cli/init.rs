//! `chancery init` and `chancery migrate`: prepare database, issuers and first token, without serving.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{block_on, files};
use crate::app;
use crate::auth::permission::ManageTokens;
use crate::auth::{Authorized, Caller, Role, api_token};
use crate::ca::CertificateAuthority;
use crate::ca::tokens::TokenRequest;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::grants::GrantsDocument;
use crate::signer::secret_file;
use crate::{storage, telemetry};

/// The name of the first token.
const ADMINISTRATOR: &str = "admin";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not make an administrator token.
    #[arg(long)]
    no_token: bool,
}

/// What `init` and `quickstart` leave in the data directory.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Whether root and issuing CA were created now.
    pub(super) created: bool,
    /// The administrator token.
    pub(super) token: Option<SecretString>,
}

pub(super) fn run(config: Config, arguments: Arguments) -> Result<ExitCode> {
    block_on(async move {
        files::create_directory(&config.data_dir)?;
        let ca = app::open(&config).await?;
        let prepared = prepare(&config, &ca, !arguments.no_token).await?;
        ca.publish_due_crls().await?;
        println!("{}", if prepared.created { "created root and issuing CA" } else { "the issuers exist already" });
        let directory = config.data_dir.display();
        println!("root certificate:    {directory}/root.pem");
        println!("issuing CA and root: {directory}/chain.pem");
        if prepared.token.is_some() {
            println!("administrator token: {directory}/admin.token");
        }
        ca.storage().close().await;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn migrate(config: Config) -> Result<ExitCode> {
    telemetry::start(&config.log)?;
    block_on(async move {
        files::create_directory(&config.data_dir)?;
        let applied = storage::migrate(&config.database_options()).await?;
        for name in &applied {
            println!("applied {name}");
        }
        println!("the database is up to date");
        Ok(ExitCode::SUCCESS)
    })
}

/// Creates what is missing: issuers, default and configured profiles, the files `root.pem` and `chain.pem`, and the administrator token.
pub(super) async fn prepare(config: &Config, ca: &CertificateAuthority, with_token: bool) -> Result<Prepared> {
    let caller = Caller::internal("command-line");
    let created = app::create_first_issuers(config, ca, &caller).await?;
    ca.apply_configured_profiles(config.profiles.clone()).await?;
    if !write_chain(config, ca)? {
        return Err(Error::conflict("there is no default issuer"));
    }
    let token = match with_token {
        true => Some(administrator_token(&config.data_dir, ca).await?),
        false => None,
    };
    Ok(Prepared { created, token })
}

/// Writes `root.pem` and `chain.pem` of the default issuer as it is now; answers whether there is one.
pub(super) fn write_chain(config: &Config, ca: &CertificateAuthority) -> Result<bool> {
    let issuers = ca.issuers();
    let Some(issuer) = issuers.default_issuer() else { return Ok(false) };
    let chain: String = issuer.chain.iter().map(crate::x509::Certificate::to_pem).collect();
    let files = [("root.pem", issuer.root().to_pem()), ("chain.pem", chain)];
    for (name, text) in files {
        let path = config.data_dir.join(name);
        if !path.exists() || files::read(&path)? != text.as_bytes() {
            files::write_public(&path, text.as_bytes())?;
        }
    }
    Ok(true)
}

/// Returns the token of `admin.token` if it is still good, else makes one. The file is written before anybody learns of the token.
async fn administrator_token(directory: &Path, ca: &CertificateAuthority) -> Result<SecretString> {
    let path = directory.join("admin.token");
    if path.exists() {
        let text = secret_file::read(&path)?;
        let text = std::str::from_utf8(&text)
            .map_err(|error| Error::configuration("`admin.token` is not text").with_source(error))?;
        let secret = SecretString::from(text.trim());
        let record = ca.storage().token_by_secret(&api_token::digest(&secret)).await?;
        if record.is_some_and(|token| {
            token.revoked_at.is_none() && token.expires_at.is_none_or(|end| end > ca.clock().now())
        }) {
            return Ok(secret);
        }
    }
    let authorization = Authorized::<ManageTokens>::check(Caller::internal("command-line"))?;
    let request = |name: String| TokenRequest {
        name,
        role: Role::Administrator,
        grants: GrantsDocument::default(),
        expires_at: None,
        idempotency: None,
    };
    let created = match ca.create_token(&authorization, request(ADMINISTRATOR.to_owned())).await {
        // The name is taken by a token whose secret is not here: another data directory of the same database.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let suffix = uuid::Uuid::now_v7().simple().to_string();
            ca.create_token(&authorization, request(format!("{ADMINISTRATOR}-{suffix}"))).await?
        }
        result => result?,
    };
    files::write_private(&path, format!("{}\n", created.secret.expose_secret()).as_bytes())?;
    Ok(created.secret)
}
