//! `chancery issuer import`: finds the files of a CA that was run with OpenSSL, step-ca or anything else, and imports it.
//!
//! A passphrase comes from a file or the environment, never from an argument. What the files say is read in `ca/import/`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::import_files::{self, Files};
use super::{block_on, files, print_json};
use crate::app;
use crate::auth::permission::ManageIssuers;
use crate::auth::{Authorized, Caller};
use crate::ca::import::findings::{Collector, Findings};
use crate::ca::import::issuer::{ImportedIssuer, IssuerImport, certificate_of_key};
use crate::ca::issuers::key_making::NewKeyPlace;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::signer::import::{self, ImportedKey};
use crate::signer::secret_file;
use crate::storage::IssuerState;
use crate::x509::{Certificate, pem};

/// The environment variable that a passphrase may come from.
const PASSPHRASE_VARIABLE: &str = "CHANCERY_IMPORT_PASSPHRASE";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The issuer's name here: 1 to 63 of `a-z 0-9 -`, starting with a letter.
    #[arg(long)]
    name: String,
    /// The CA's certificate, PEM or DER; more certificates in the same file are taken for the chain above it.
    #[arg(long, value_name = "FILE", conflicts_with = "pkcs12")]
    certificate: Option<PathBuf>,
    /// The CA's private key, PEM or DER, plain or encrypted in any way that OpenSSL did.
    #[arg(long, value_name = "FILE", conflicts_with = "pkcs12")]
    key: Option<PathBuf>,
    /// Certificate, chain and key in a PKCS #12 file.
    #[arg(long, value_name = "FILE")]
    pkcs12: Option<PathBuf>,
    /// A file whose first line is the passphrase of the key or of the PKCS #12 file; else `CHANCERY_IMPORT_PASSPHRASE`.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The certificates above the CA up to its root, PEM, in any order.
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Take a chain that does not reach a root.
    #[arg(long)]
    incomplete_chain: bool,
    /// The directory of an OpenSSL CA (`demoCA`): `index.txt`, `newcerts`, `certs`, `crl.pem`, `crlnumber`; also `cacert.pem` and `private/cakey.pem` unless given.
    #[arg(long, value_name = "DIRECTORY")]
    openssl_ca_dir: Option<PathBuf>,
    /// The directory of a step-ca (`~/.step`): `certs/intermediate_ca.crt`, `certs/root_ca.crt`, `secrets/intermediate_ca_key` unless given.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "openssl_ca_dir")]
    step_path: Option<PathBuf>,
    /// Revocations as step-ca records them (its table `x509_revoked_certs`), JSON, one object a line.
    #[arg(long, value_name = "FILE")]
    revocations: Vec<PathBuf>,
    /// A file or directory with certificates that the CA issued, PEM or DER (repeatable).
    #[arg(long, value_name = "PATH")]
    certificates: Vec<PathBuf>,
    /// A CRL of the CA, PEM or DER (repeatable).
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    #[command(flatten)]
    kept: super::issuer::Kept,
    /// Import it as `retired`: it signs CRLs and OCSP answers only.
    #[arg(long, conflicts_with_all = ["staged", "default"])]
    retired: bool,
    /// Import it as `staged`: it signs nothing for others yet.
    #[arg(long, conflicts_with = "default")]
    staged: bool,
    /// Make it the default issuer; the first issuer of all is that anyway.
    #[arg(long)]
    default: bool,
}

pub(super) fn run(config: Config, arguments: Arguments) -> Result<ExitCode> {
    let import = read(arguments)?;
    block_on(async move {
        files::create_directory(&config.data_dir)?;
        let ca = app::open(&config).await?;
        let authorization = Authorized::<ManageIssuers>::check(Caller::internal("command-line"))?;
        let imported = ca.import_issuer(&authorization, import).await;
        // Closed on failure, too: the refusal is in the audit log then.
        ca.storage().close().await;
        print_json(&described(&imported?))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn described(imported: &ImportedIssuer) -> Value {
    let (issuer, outcome) = (&imported.issuer, &imported.outcome);
    json!({
        "name": issuer.name,
        "state": issuer.state,
        "default": issuer.is_default,
        "subject": issuer.certificate.subject.to_string(),
        "parent": issuer.parent,
        "not_after": issuer.certificate.not_after,
        "crl_number": issuer.record.crl_number,
        "imported": outcome.imported,
        "revoked": outcome.revoked,
        "revoked_serials": outcome.revoked_serials,
        "already_there": outcome.already_there,
        "skipped": outcome.skipped.listed,
        "skipped_total": outcome.skipped.total,
        "warnings": imported.warnings,
    })
}

/// Reads everything that the arguments name.
fn read(arguments: Arguments) -> Result<IssuerImport> {
    let (certificate, chain, key) = issuer(&arguments)?;
    let findings = findings(&arguments, &certificate)?;
    let place = arguments.kept.place()?;
    let state = match (arguments.retired, arguments.staged) {
        (true, _) => IssuerState::Retired,
        (false, true) => IssuerState::Staged,
        (false, false) => IssuerState::Active,
    };
    Ok(IssuerImport {
        name: arguments.name,
        certificate,
        chain,
        incomplete_chain: arguments.incomplete_chain,
        key,
        place: place.unwrap_or(NewKeyPlace::Database),
        state,
        is_default: arguments.default,
        findings,
    })
}

/// Reads certificate, chain and key.
fn issuer(arguments: &Arguments) -> Result<(Certificate, Vec<Certificate>, ImportedKey)> {
    let passphrase = passphrase(arguments.passphrase_file.as_deref())?;
    let mut chain = match &arguments.chain {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    if let Some(path) = &arguments.pkcs12 {
        let key = import::read_pkcs12(path, passphrase.as_ref())?;
        let (certificate, others) = certificate_of_key(&key)?;
        chain.extend(others);
        return Ok((certificate, chain, key));
    }
    let (openssl, step) = (arguments.openssl_ca_dir.as_deref(), arguments.step_path.as_deref());
    let default = |openssl_name: &str, step_name: &str| match (openssl, step) {
        (Some(directory), _) => Some(directory.join(openssl_name)),
        (None, Some(directory)) => Some(directory.join(step_name)),
        (None, None) => None,
    };
    let missing = |what: &str| {
        Error::malformed(format!(
            "the CA's {what} is missing: give `--certificate` and `--key`, `--pkcs12`, `--openssl-ca-dir` or `--step-path`"
        ))
    };
    let path = arguments.certificate.clone().or_else(|| default("cacert.pem", "certs/intermediate_ca.crt"));
    let mut found = certificates(&path.ok_or_else(|| missing("certificate"))?)?.into_iter();
    let certificate = found.next().ok_or_else(|| missing("certificate"))?;
    chain.extend(found);
    if let Some(root) = step.map(|directory| directory.join("certs/root_ca.crt")).filter(|root| root.exists()) {
        chain.extend(certificates(&root)?.into_iter().filter(|root| root.as_der() != certificate.as_der()));
    }
    let path = arguments.key.clone().or_else(|| default("private/cakey.pem", "secrets/intermediate_ca_key"));
    let key = import::read(&path.ok_or_else(|| missing("private key"))?, passphrase.as_ref())?;
    Ok((certificate, chain, key))
}

/// Collects what the CA issued and revoked.
fn findings(arguments: &Arguments, certificate: &Certificate) -> Result<Findings> {
    let mut collector = Collector::new(certificate);
    if let Some(directory) = &arguments.openssl_ca_dir {
        import_files::openssl(directory, &mut collector)?;
    }
    for path in &arguments.certificates {
        Files::below(path)?.add_to(&mut collector)?;
    }
    for path in &arguments.revocations {
        let origin = path.display().to_string();
        collector.add_step_revocations(&origin, &import_files::text(path)?).map_err(|error| named(path, error))?;
    }
    for path in &arguments.crl {
        collector.add_crl(&import_files::bytes(path)?).map_err(|error| named(path, error))?;
    }
    Ok(collector.finish())
}

/// Reads the certificates of a file, one at least.
fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let content = import_files::bytes(path)?;
    let found = match std::str::from_utf8(&content) {
        Ok(text) if text.contains("-----BEGIN ") => pem::decode_matching(text, pem::is_certificate)?
            .iter()
            .map(|(_, der)| Certificate::from_der(der))
            .collect::<Result<Vec<_>>>(),
        Ok(_) | Err(_) => Certificate::from_der(&content).map(|certificate| vec![certificate]),
    };
    let found = found.map_err(|error| named(path, error))?;
    if found.is_empty() {
        return Err(Error::malformed(format!("`{}` holds no certificate", path.display())));
    }
    Ok(found)
}

/// Takes the first line of the file, or the environment variable.
fn passphrase(path: Option<&Path>) -> Result<Option<SecretString>> {
    let Some(path) = path else {
        return match std::env::var(PASSPHRASE_VARIABLE) {
            Ok(text) => Ok(Some(SecretString::from(text))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(Error::configuration(format!("`{PASSPHRASE_VARIABLE}` is not UTF-8")).with_source(error)),
        };
    };
    let content = secret_file::read(path)?;
    let text = std::str::from_utf8(&content)
        .map_err(|error| Error::configuration(format!("`{}` is not UTF-8", path.display())).with_source(error))?;
    Ok(Some(SecretString::from(text.lines().next().unwrap_or_default())))
}

fn named(path: &Path, error: Error) -> Error {
    Error::new(error.kind(), format!("`{}`: {error}", path.display())).with_source(error)
}
