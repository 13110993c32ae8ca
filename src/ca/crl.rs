//! Publishes CRLs: at start, before the last one ends, and shortly after a revocation. Bytes are made in `x509/crl.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::CertificateAuthority;
use super::issuer::{Issuer, Issuers};
use crate::auth::permission::PublishCrl;
use crate::auth::{Authorized, Caller};
use crate::error::{Error, Result};
use crate::storage::{AuditOutcome, CrlRecord, IssuerRecord, IssuerState};
use crate::tasks;
use crate::x509::Timestamp;
use crate::x509::crl::{CrlTemplate, RevokedEntry};

/// How long one process may take for a page of a CRL's entries, and then again to sign it, before another one tries. A process that was killed holds others
/// up no longer than this.
const LEASE: Duration = Duration::from_secs(5);
/// How often a caller that wants a CRL now asks for the lease.
const LEASE_RETRY: Duration = Duration::from_millis(250);
/// How far the clocks of replicas may be apart.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
/// How many revoked certificates one query reads.
const PAGE: u32 = 10_000;

/// The CRL of every issuer as published, by issuer row.
#[derive(Clone, Debug, Default)]
pub struct PublishedCrls {
    by_issuer: BTreeMap<i32, Arc<CrlRecord>>,
}

impl PublishedCrls {
    /// Finds the CRL of an issuer.
    #[must_use]
    pub fn of_issuer(&self, issuer_id: i32) -> Option<&Arc<CrlRecord>> {
        self.by_issuer.get(&issuer_id)
    }
}

impl CertificateAuthority {
    /// Returns the published CRLs.
    #[must_use]
    pub fn published_crls(&self) -> Arc<PublishedCrls> {
        self.crls.load_full()
    }

    /// Publishes an issuer's CRL now.
    ///
    /// # Errors
    /// `NotFound` for an unknown issuer; `Conflict` for a disabled one or while another process publishes it.
    pub async fn publish_crl(&self, authorization: &Authorized<PublishCrl>, issuer: &str) -> Result<Arc<CrlRecord>> {
        let (caller, object) = (authorization.caller(), format!("issuer:{issuer}"));
        let outcome = self.publish_now(caller, issuer).await;
        self.audited(caller, "crl.publish", object, outcome).await
    }

    async fn publish_now(&self, caller: &Caller, issuer: &str) -> Result<Arc<CrlRecord>> {
        let issuers = self.issuers();
        let issuer = issuers.by_name(issuer).ok_or_else(|| {
            Error::not_found(format!("there is no issuer `{issuer}`; there are: {}", issuers.names()))
        })?;
        if issuer.state == IssuerState::Disabled {
            return Err(Error::conflict(format!("the issuer `{}` is disabled and signs nothing", issuer.name)));
        }
        let give_up = Instant::now() + LEASE + LEASE_RETRY;
        loop {
            if let Some(published) = self.publish(caller, issuer, |_present| true).await? {
                return Ok(published);
            }
            if Instant::now() > give_up {
                let detail = format!("another process publishes the CRL of `{}` right now", issuer.name);
                return Err(Error::conflict(detail).with_retry_after(2));
            }
            tokio::time::sleep(LEASE_RETRY).await;
        }
    }

    /// Publishes whatever is due, and loads what other replicas published. Called every few seconds by a job.
    ///
    /// # Errors
    /// The first of storage or signer; the CRLs of other issuers are published all the same.
    pub async fn publish_due_crls(&self) -> Result<()> {
        let records = self.storage.issuers().await?;
        self.load_crls(&records).await?;
        let counts: BTreeMap<i32, i64> = records.iter().map(|issuer| (issuer.id, issuer.revocations)).collect();
        let mut first_error = None;
        for issuer in signing_crls(&self.issuers()) {
            let revocations = counts.get(&issuer.id).copied().unwrap_or_default();
            let due = |present: Option<&CrlRecord>| self.is_due(present, revocations);
            if !due(self.published_crls().of_issuer(issuer.id).map(AsRef::as_ref)) {
                continue;
            }
            if let Err(error) = self.publish(&Caller::system(), issuer, due).await {
                tracing::error!(issuer = %issuer.name, %error, "the CRL could not be published");
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn is_due(&self, present: Option<&CrlRecord>, revocations: i64) -> bool {
        present.is_none_or(|crl| {
            let now = self.clock.now();
            crl.revocations < revocations
                || now >= crl.this_update + self.settings.crl_refresh
                // Made by a clock that was ahead: relying parties refuse it as not yet valid.
                || crl.this_update > now + CLOCK_TOLERANCE
        })
    }

    /// Publishes under the lease, unless the CRL that is there by then is no longer due; `None` when another process has the lease.
    async fn publish(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        due: impl Fn(Option<&CrlRecord>) -> bool + Send,
    ) -> Result<Option<Arc<CrlRecord>>> {
        let _one_at_a_time = self.publishing.lock().await;
        let now = self.clock.now();
        let lease = format!("crl:{}", issuer.id);
        if !self.storage.acquire_lease(&lease, &self.instance, now, now + LEASE).await? {
            return Ok(None);
        }
        let present = self.storage.current_crl(issuer.id).await?;
        if !due(present.as_ref()) {
            let Some(present) = present else { return Ok(None) };
            return Ok(Some(self.serve(Arc::new(present))));
        }
        let Some(crl) = self.make_crl(issuer, present.as_ref(), now, &lease).await? else { return Ok(None) };
        let details = json!({ "number": crl.number, "next_update": crl.next_update, "size": crl.der.len() });
        let event =
            self.event(caller, "crl.publish", AuditOutcome::Success, format!("issuer:{}", issuer.name), details);
        if !self.storage.publish_crl(crl.clone(), event).await? {
            return Ok(None);
        }
        tracing::info!(issuer = %issuer.name, number = crl.number, "published a CRL");
        // Ends the lease so that another replica need not wait for it.
        if let Err(error) = self.storage.acquire_lease(&lease, &self.instance, now, now).await {
            tracing::warn!(%error, "the lease of a published CRL could not be ended; it ends by itself");
        }
        Ok(Some(self.serve(Arc::new(crl))))
    }

    /// Reads, encodes and signs; `None` when the lease was lost meanwhile.
    async fn make_crl(
        &self,
        issuer: &Issuer,
        present: Option<&CrlRecord>,
        now: Timestamp,
        lease: &str,
    ) -> Result<Option<CrlRecord>> {
        // Counted before the entries are read: a revocation in between makes the next CRL due, never lost.
        let issuers = self.storage.issuers().await?;
        let revocations = issuers.iter().find(|row| row.id == issuer.id).map_or(0, |row| row.revocations);
        let number = self.storage.next_crl_number(issuer.id).await?;
        // A certificate leaves only after one CRL past its end (RFC 5280, section 3.3).
        let since = present.map_or(now, |crl| crl.this_update.min(now));
        let Some(entries) = self.revoked_entries(issuer.id, since, lease).await? else { return Ok(None) };
        let next_update = now + self.settings.crl_validity;
        let (algorithm, name) = (issuer.signature_algorithm()?, issuer.certificate.subject.clone());
        let key_identifier = issuer.key_identifier();
        let to_be_signed = tasks::spawn_blocking(move || {
            let template = CrlTemplate {
                signature_algorithm: algorithm,
                issuer: &name,
                authority_key_identifier: &key_identifier,
                number: u64::try_from(number)
                    .map_err(|error| Error::internal("a CRL number is negative").with_source(error))?,
                this_update: now,
                next_update,
            };
            template.to_be_signed(entries.into_iter())
        })
        .await?;
        let der = issuer.sign_object(to_be_signed).await?;
        Ok(Some(CrlRecord { issuer_id: issuer.id, number, this_update: now, next_update, revocations, der }))
    }

    /// Reads the entries, extending the lease with each page; `None` when it was lost.
    async fn revoked_entries(
        &self,
        issuer_id: i32,
        since: Timestamp,
        lease: &str,
    ) -> Result<Option<Vec<RevokedEntry>>> {
        let mut entries = Vec::new();
        let mut after = 0;
        loop {
            let page = self.storage.revoked_certificates(issuer_id, since, after, PAGE).await?;
            let now = self.clock.now();
            if !self.storage.acquire_lease(lease, &self.instance, now, now + LEASE).await? {
                return Ok(None);
            }
            let Some(last) = page.last() else { return Ok(Some(entries)) };
            after = last.id;
            entries.extend(page.into_iter().map(|row| RevokedEntry {
                serial: row.serial,
                revoked_at: row.revocation.revoked_at,
                reason: row.revocation.reason,
                invalidity_date: row.revocation.invalidity_date,
            }));
        }
    }

    /// Loads the published CRLs that are newer than those at hand. CRLs are large: without a newer number none is read.
    pub(super) async fn load_crls(&self, issuers: &[IssuerRecord]) -> Result<()> {
        for issuer in issuers {
            let served = self.published_crls().of_issuer(issuer.id).map_or(0, |crl| crl.number);
            if issuer.crl_number > served
                && let Some(crl) = self.storage.current_crl(issuer.id).await?
            {
                self.serve(Arc::new(crl));
            }
        }
        Ok(())
    }

    /// Waits until a certificate is revoked, held or released here, so that its CRL need not wait for the next look.
    pub async fn revocation_happened(&self) {
        self.revocation.notified().await;
    }

    /// Serves a CRL from now on, unless a newer one is served already.
    fn serve(&self, crl: Arc<CrlRecord>) -> Arc<CrlRecord> {
        self.crls.rcu(|present| {
            let mut next = PublishedCrls::clone(present);
            if next.of_issuer(crl.issuer_id).is_none_or(|served| served.number < crl.number) {
                next.by_issuer.insert(crl.issuer_id, Arc::clone(&crl));
            }
            next
        });
        crl
    }
}

/// The issuers whose CRLs are made here: not disabled, and with their key at hand.
fn signing_crls(issuers: &Issuers) -> impl Iterator<Item = &Arc<Issuer>> {
    issuers.all().iter().filter(|issuer| issuer.state != IssuerState::Disabled && issuer.can_sign())
}
