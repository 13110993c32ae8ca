//! Imports an issuer: its certificate, the chain above it and its private key.

use std::sync::Arc;

use serde_json::json;

use super::certificates::ImportOutcome;
use super::chain::{self, Above};
use super::checks;
use super::findings::Findings;
use crate::auth::permission::ManageIssuers;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::issuer::Issuer;
use crate::ca::issuers::creation::check_name;
use crate::ca::issuers::key_making::NewKeyPlace;
use crate::ca::issuers::{inventory_entry, refuse_ungranted};
use crate::error::{Error, Result};
use crate::signer::Signer;
use crate::signer::import::ImportedKey;
use crate::storage::{AuditOutcome, IssuerChange, IssuerState, NewIssuer, NewIssuerCertificate, SignedBy, Source};
use crate::x509::{Certificate, PublicKey};

/// An issuer to be imported.
#[derive(Debug)]
pub struct IssuerImport {
    /// Its name here: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
    pub name: String,
    /// Its certificate.
    pub certificate: Certificate,
    /// Certificates above it, in any order; what does not belong there is left out, with a warning.
    pub chain: Vec<Certificate>,
    /// Whether a chain that does not reach a root is admitted.
    pub incomplete_chain: bool,
    /// Its private key.
    pub key: ImportedKey,
    /// Where the key is kept from now on.
    pub place: NewKeyPlace,
    /// Its state: `active`, `staged` or `retired`.
    pub state: IssuerState,
    /// Whether requests that name no issuer come here; an active issuer gets them in any case when there is no default issuer yet.
    pub is_default: bool,
    /// What it issued and revoked before.
    pub findings: Findings,
}

/// An issuer that was imported.
#[derive(Debug)]
pub struct ImportedIssuer {
    /// The issuer.
    pub issuer: Arc<Issuer>,
    /// What became of what it had issued and revoked.
    pub outcome: ImportOutcome,
    /// What is odd about it, in words.
    pub warnings: Vec<String>,
}

/// Chooses the certificate that belongs to a key among several, as PKCS #12 files have them.
///
/// # Errors
/// `Malformed` when none does, or the key cannot be used.
pub fn certificate_of_key(key: &ImportedKey) -> Result<(Certificate, Vec<Certificate>)> {
    let signer = key.signer()?;
    let mut certificates = key.certificates.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>>>()?;
    let own = |public_key: &PublicKey| public_key.spki_sha256() == signer.public_key().spki_sha256();
    let index = certificates.iter().position(|certificate| own(&certificate.public_key)).ok_or_else(|| {
        Error::malformed(format!(
            "none of the {} certificates beside the private key is the one of its public key",
            certificates.len()
        ))
    })?;
    let certificate = certificates.remove(index);
    Ok((certificate, certificates))
}

impl CertificateAuthority {
    /// Imports an issuer with what it issued and revoked before.
    ///
    /// With findings the issuer is recorded as `disabled` first and takes its state when all of them are in, so that no CRL without its
    /// earlier revocations is ever published. An import that was interrupted, or one that finds more of the same CA, is done by importing it again under
    /// the same name; what is there already stays as it is.
    ///
    /// # Errors
    /// `Malformed`: not a CA's certificate, expired, critical extensions that are not understood, a key that is weak or another's, a chain that does not
    /// hold or is not complete; `PolicyViolation` when its key is blocked; `Conflict` when name or key are taken; `Forbidden` outside the
    /// caller's grants.
    pub async fn import_issuer(
        &self,
        authorization: &Authorized<ManageIssuers>,
        import: IssuerImport,
    ) -> Result<ImportedIssuer> {
        let caller = authorization.caller();
        let object = format!("issuer:{}", import.name);
        let outcome = self.import_checked(caller, import).await;
        self.audited(caller, "issuer.import", object, outcome).await
    }

    /// Writes down that an issuer was not imported because what was given could not be read, and gives the error back.
    pub async fn refused_import(&self, authorization: &Authorized<ManageIssuers>, name: &str, error: Error) -> Error {
        self.record_refusal(authorization.caller(), "issuer.import", format!("issuer:{name}"), error).await
    }

    async fn import_checked(&self, caller: &Caller, mut import: IssuerImport) -> Result<ImportedIssuer> {
        check_name(&import.name)?;
        refuse_ungranted(caller, &import.name)?;
        check_state(&import)?;
        let findings = std::mem::take(&mut import.findings);
        let is_empty = findings.certificates.is_empty() && findings.revocations.is_empty() && findings.crl_number == 0;
        let (name, state) = (import.name.clone(), import.state);
        self.refresh().await?;
        if self.issuers().is_empty() {
            self.store_default_profiles(caller).await?;
        }
        // Requests that name no issuer would find none.
        import.is_default |= import.state == IssuerState::Active && self.issuers().default_issuer().is_none();
        let is_default = import.is_default;
        let (issuer, warnings, takes_state) = match self.known_issuer(&import, is_empty).await? {
            Some((issuer, interrupted)) => {
                import.key.signer_for(&issuer.certificate.public_key)?;
                (issuer, Vec::new(), interrupted)
            }
            None => {
                let crl_number = findings.crl_number;
                let warnings = self.record_issuer(caller, import, is_empty, crl_number).await?;
                (self.loaded(&name)?, warnings, !is_empty)
            }
        };
        let outcome = if is_empty {
            ImportOutcome { skipped: findings.skipped, ..ImportOutcome::default() }
        } else {
            self.import_findings(caller, &issuer, findings).await?
        };
        if takes_state {
            self.give_state(caller, &issuer, state, is_default, &outcome).await?;
        }
        // Its first CRL is due, or the next one.
        self.revocation.notify_one();
        Ok(ImportedIssuer { issuer: self.loaded(&name)?, outcome, warnings })
    }

    fn loaded(&self, name: &str) -> Result<Arc<Issuer>> {
        let issuer = self.issuers().by_name(name).cloned();
        issuer.ok_or_else(|| Error::internal(format!("the imported issuer `{name}` is not loaded")))
    }

    /// Finds the issuer of the name when it is the very one that is to be imported; and whether its import was interrupted.
    async fn known_issuer(&self, import: &IssuerImport, is_empty: bool) -> Result<Option<(Arc<Issuer>, bool)>> {
        let issuers = self.issuers();
        let taken = || Error::conflict(format!("there is an issuer `{}` already; choose another name", import.name));
        if issuers.pending_by_reference(&import.name).is_some() {
            return Err(taken());
        }
        let Some(issuer) = issuers.by_name(&import.name) else { return Ok(None) };
        if issuer.certificate.as_der() != import.certificate.as_der() {
            return Err(taken());
        }
        // One that was disabled by hand has had a CRL.
        let interrupted =
            issuer.state == IssuerState::Disabled && self.storage.current_crl(issuer.id, 0, false).await?.is_none();
        if is_empty && !interrupted {
            return Err(taken());
        }
        Ok(Some((Arc::clone(issuer), interrupted)))
    }

    /// Checks and records the issuer itself; answers what is odd about it.
    async fn record_issuer(
        &self,
        caller: &Caller,
        import: IssuerImport,
        complete: bool,
        crl_number: i64,
    ) -> Result<Vec<String>> {
        let now = self.clock.now();
        let issuers = self.issuers();
        let certificate = import.certificate;
        self.refuse_blocked(&certificate.public_key.spki_sha256(), "certificate").await?;
        let mut warnings = checks::check(&certificate, import.state == IssuerState::Retired, now)?;
        let ours = issuers.all().iter().map(|issuer| (issuer.id, &issuer.certificate));
        let above = chain::above(&certificate, ours, &import.chain, import.incomplete_chain)?;
        warnings.extend(left_out(&certificate, &above, &import.chain));
        let place = self.issuer_key_place(&import.place, &import.name)?;
        let (key, _signer) = self.keys.import(import.key, &certificate.public_key, &place).await?;
        let (signed_by, upper_chain) = match above {
            Above::Root => (SignedBy::Itself, Vec::new()),
            Above::Issuer(row) => (SignedBy::Issuer(row), Vec::new()),
            Above::Outside(upper) => (SignedBy::Outside, upper),
        };
        let inventory = match &signed_by {
            SignedBy::Itself => Some(inventory_entry(caller, &certificate, Source::Internal, now)),
            SignedBy::Issuer(row) => {
                // It may have been issued here, or imported with what its parent issued.
                let recorded = self.storage.certificates_by_serial(&certificate.serial).await?;
                let known = recorded.iter().any(|record| record.issuer_id == *row);
                (!known).then(|| inventory_entry(caller, &certificate, Source::Internal, now))
            }
            SignedBy::New(_) | SignedBy::Outside => None,
        };
        let parent = match &signed_by {
            SignedBy::Issuer(row) => issuers.by_id(*row).map(|issuer| issuer.path_name.clone()),
            SignedBy::Itself | SignedBy::New(_) | SignedBy::Outside => None,
        };
        let state = if complete { import.state } else { IssuerState::Disabled };
        let details = json!({
            "subject": certificate.subject.to_string(),
            "serial": certificate.serial.to_string(),
            "key_algorithm": key.algorithm,
            "not_after": certificate.not_after,
            "fingerprint_sha256": hex::encode(certificate.fingerprint_sha256()),
            "state": state,
            "crl_number": crl_number,
            "parent": parent,
            "upper_chain": upper_chain.len(),
        });
        let object = format!("issuer:{}", import.name);
        let new = NewIssuer {
            base_name: import.name.clone(),
            generation: 1,
            state,
            is_default: complete && import.is_default,
            settings: "{}".to_owned(),
            key,
            csr: None,
            certificate: Some(NewIssuerCertificate {
                signed_by,
                fingerprint_sha256: certificate.fingerprint_sha256(),
                der: certificate.as_der().to_vec(),
                upper_chain,
                created_at: now,
                inventory,
            }),
            crl_number,
            retires: Vec::new(),
            cross_certificates: Vec::new(),
            audit: self.event(caller, "issuer.import", AuditOutcome::Success, object, details),
        };
        if !self.storage.create_issuers(vec![new], None).await? {
            self.refuse_blocked(&certificate.public_key.spki_sha256(), "certificate").await?;
            return Err(Error::conflict(format!(
                "the key of `{}` is that of an issuer here already, or the name `{}` was taken meanwhile",
                certificate.subject, import.name
            )));
        }
        self.refresh().await?;
        Ok(warnings)
    }

    /// Imports what an issuer here issued and revoked elsewhere, in batches.
    async fn import_findings(&self, caller: &Caller, issuer: &Issuer, findings: Findings) -> Result<ImportOutcome> {
        let mut outcome = self.import_found(caller, issuer, findings.certificates).await?;
        outcome.revoked_serials =
            self.import_revocations(caller, issuer, findings.revocations, findings.crl_number).await?;
        outcome.skipped.append(findings.skipped);
        outcome.already_there += findings.duplicates;
        Ok(outcome)
    }

    /// Gives the issuer the state it was to have, now that everything is in.
    async fn give_state(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        state: IssuerState,
        is_default: bool,
        outcome: &ImportOutcome,
    ) -> Result<()> {
        let details = json!({
            "state": state,
            "imported": outcome.imported,
            "revoked": outcome.revoked,
            "revoked_serials": outcome.revoked_serials,
            "already_there": outcome.already_there,
            "skipped": outcome.skipped.total,
        });
        let object = format!("issuer:{}", issuer.path_name);
        let event = self.event(caller, "issuer.import", AuditOutcome::Success, object, details);
        let change = IssuerChange {
            id: issuer.id,
            from: vec![IssuerState::Disabled],
            state: Some(state),
            is_default: is_default.then_some(true),
            settings: None,
            csr: None,
        };
        if !self.storage.change_issuers(vec![change], event).await? {
            return Err(Error::conflict(format!("the issuer `{}` was changed while it was imported", issuer.name)));
        }
        self.refresh().await?;
        Ok(())
    }
}

fn check_state(import: &IssuerImport) -> Result<()> {
    match import.state {
        IssuerState::Active => Ok(()),
        IssuerState::Staged | IssuerState::Retired if !import.is_default => Ok(()),
        IssuerState::Staged | IssuerState::Retired => {
            Err(Error::malformed("only an active issuer can be the default issuer"))
        }
        IssuerState::Disabled => {
            Err(Error::malformed("an issuer is imported as `active`, `staged` or `retired`; it can be disabled later"))
        }
    }
}

/// Names the certificates that were given and are not above the issuer.
fn left_out(certificate: &Certificate, above: &Above, given: &[Certificate]) -> Vec<String> {
    let used = |candidate: &Certificate| match above {
        Above::Root => false,
        // Our own issuer leads on to the rest of the chain.
        Above::Issuer(_) => true,
        Above::Outside(upper) => upper.iter().any(|der| der == candidate.as_der()),
    };
    given
        .iter()
        .filter(|candidate| candidate.as_der() != certificate.as_der() && !used(candidate))
        .map(|candidate| format!("the certificate `{}` is not above the issuer and was left out", candidate.subject))
        .collect()
}
