//! Making CRLs: the lease that keeps other processes out, entries from the database into the one buffer, the signature, the commit.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::schedule::{CrlPolicy, Due, Occasion};
use crate::auth::Caller;
use crate::ca::CertificateAuthority;
use crate::ca::issuer::{Issuer, delta_url, shard_url};
use crate::error::{Error, Result};
use crate::storage::{AuditOutcome, CrlRecord, CrlSummary};
use crate::x509::crl::{CrlBuilder, CrlTemplate, RemovedEntry, RevokedEntry};
use crate::x509::{SerialNumber, Timestamp};

/// How long one process may take for a page of entries, for a signature, or for a commit, before another one tries. A process that was
/// killed holds others up no longer than this.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// How many revoked certificates one query reads.
const PAGE: u32 = 10_000;
/// How many CRLs share a commit, at most; and after how many octets there are no more.
const BATCH: usize = 64;
const BATCH_OCTETS: usize = 8 << 20;

/// The right of this process to publish the CRLs of an issuer.
struct Lease<'a> {
    ca: &'a CertificateAuthority,
    name: String,
    extended_at: Timestamp,
}

/// What all CRLs of one run have in common.
struct Run<'a> {
    caller: &'a Caller,
    issuer: &'a Issuer,
    policy: CrlPolicy,
    /// The changes of state that the CRLs cover: counted before any entry is read, so that one in between is due again and never lost.
    revocations: i64,
}

/// What a CRL is of: its shard and, for a delta, the complete CRL that it builds on.
#[derive(Clone, Copy)]
struct Scope<'a> {
    shard: i32,
    base: Option<&'a CrlSummary>,
}

impl Lease<'_> {
    /// Makes sure that the lease lasts; `false` when another process has it.
    async fn hold(&mut self) -> Result<bool> {
        let now = self.ca.clock.now();
        // Not for each of a thousand small CRLs: every extension is a commit.
        if now < self.extended_at + LEASE / 4 && now >= self.extended_at {
            return Ok(true);
        }
        self.extended_at = now;
        self.ca.storage.acquire_lease(&self.name, &self.ca.instance, now, now + LEASE).await
    }

    /// Ends the lease so that other replicas need not wait for it.
    async fn end(self) {
        let now = self.ca.clock.now();
        if let Err(error) = self.ca.storage.acquire_lease(&self.name, &self.ca.instance, now, now).await {
            tracing::warn!(%error, "the lease for publishing CRLs could not be ended; it ends by itself");
        }
    }
}

impl CertificateAuthority {
    /// Publishes what is due of an issuer's CRLs, under the lease; `None` when another process has it.
    pub(super) async fn publish(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        occasion: Occasion,
    ) -> Result<Option<Vec<Arc<CrlRecord>>>> {
        let _one_at_a_time = self.publishing.lock().await;
        let (name, now) = (format!("crl:{}", issuer.id), self.clock.now());
        if !self.storage.acquire_lease(&name, &self.instance, now, now + LEASE).await? {
            return Ok(None);
        }
        let mut lease = Lease { ca: self, name, extended_at: now };
        let outcome = self.publish_held(caller, issuer, occasion, &mut lease).await;
        lease.end().await;
        outcome
    }

    async fn publish_held(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        occasion: Occasion,
        lease: &mut Lease<'_>,
    ) -> Result<Option<Vec<Arc<CrlRecord>>>> {
        let counters = self.storage.crl_counters(issuer.id).await?;
        let before = self.storage.published_crls(issuer.id).await?;
        let policy = CrlPolicy::of(&issuer.settings, &self.settings);
        let run = Run { caller, issuer, policy, revocations: counters.revocations };
        let due = policy.due(&counters, &before, occasion, self.clock.now());
        let mut published = Vec::new();
        if !due.is_empty() {
            let count = u32::try_from(due.len()).unwrap_or(u32::MAX);
            let last = self.storage.take_crl_numbers(issuer.id, count).await?;
            let mut batch = Vec::new();
            for (due, number) in due.into_iter().zip(last.saturating_sub(i64::from(count)) + 1..) {
                let Some(made) = self.make(&run, due, number, &before, lease).await? else { return Ok(None) };
                batch.extend(made);
                let octets: usize = batch.iter().map(|crl| crl.der.len()).sum();
                if batch.len() >= BATCH || octets >= BATCH_OCTETS {
                    published.extend(self.commit(&run, std::mem::take(&mut batch)).await?);
                }
            }
            published.extend(self.commit(&run, batch).await?);
        }
        if policy.shards > counters.maximum_shard {
            // Now that there is a CRL in each of them, certificates may name them.
            self.storage.raise_maximum_shard(issuer.id, policy.shards).await?;
            self.refresh().await?;
        }
        Ok(Some(published))
    }

    /// Records CRLs and serves those that were recorded.
    async fn commit(&self, run: &Run<'_>, batch: Vec<CrlRecord>) -> Result<Vec<Arc<CrlRecord>>> {
        let batch: Vec<Arc<CrlRecord>> = batch.into_iter().map(Arc::new).collect();
        let Some(last) = batch.last() else { return Ok(Vec::new()) };
        let (number, object) = (last.number, format!("issuer:{}", run.issuer.path_name));
        let details = json!({ "number": number, "crls": batch.iter().map(|crl| describe(crl)).collect::<Vec<_>>() });
        let event = self.event(run.caller, "crl.publish", AuditOutcome::Success, object, details);
        let outcomes = self.storage.publish_crls(batch.clone(), event).await?;
        let published: Vec<Arc<CrlRecord>> =
            batch.into_iter().zip(outcomes).filter_map(|(crl, published)| published.then_some(crl)).collect();
        tracing::info!(issuer = %run.issuer.path_name, number, count = published.len(), "published CRLs");
        self.serve(&published);
        Ok(published)
    }

    /// Makes the CRLs of one shard that are due, with one number; `None` when the lease was lost.
    async fn make(
        &self,
        run: &Run<'_>,
        due: Due,
        number: i64,
        before: &[CrlSummary],
        lease: &mut Lease<'_>,
    ) -> Result<Option<Vec<CrlRecord>>> {
        let present = before.iter().find(|crl| crl.shard == due.shard && crl.base_number.is_none());
        let mut made = Vec::new();
        if due.base {
            let scope = Scope { shard: due.shard, base: None };
            let Some(base) = self.make_one(run, scope, number, present, lease).await? else { return Ok(None) };
            made.push(base);
        }
        if due.delta {
            // Issued together they have the same number and say the same (RFC 5280, section 5.2.3): there is nothing to add to a base that
            // was made just now.
            let base = made.first().map(CrlRecord::summary).or_else(|| present.copied());
            let base = base.ok_or_else(|| Error::internal("a delta CRL is due without a CRL to build on"))?;
            let scope = Scope { shard: due.shard, base: Some(&base) };
            let Some(delta) = self.make_one(run, scope, number, present, lease).await? else { return Ok(None) };
            made.push(delta);
        }
        Ok(Some(made))
    }

    /// Reads, encodes and signs one CRL; `None` when the lease was lost. `present` is the complete CRL that there is.
    async fn make_one(
        &self,
        run: &Run<'_>,
        scope: Scope<'_>,
        number: i64,
        present: Option<&CrlSummary>,
        lease: &mut Lease<'_>,
    ) -> Result<Option<CrlRecord>> {
        let (issuer, shard) = (run.issuer, scope.shard);
        if !lease.hold().await? {
            return Ok(None);
        }
        // One moment for a base and the delta that is issued with it.
        let this_update = match scope.base {
            Some(base) if base.number == number => base.this_update,
            Some(_) | None => self.clock.now(),
        };
        let validity = match (scope.base, run.policy.delta_interval) {
            (Some(_), Some(interval)) => run.policy.delta_validity(interval),
            (Some(_) | None, _) => run.policy.validity,
        };
        let next_update = this_update + validity;
        let address = shard_url(&self.settings, &issuer.path_name, shard);
        let delta = run.policy.delta_interval.map(|_interval| delta_url(&self.settings, &issuer.path_name, shard));
        let template = CrlTemplate {
            signature_algorithm: issuer.signature_algorithm()?,
            issuer: &issuer.certificate.subject,
            authority_key_identifier: &issuer.key_identifier(),
            number: unsigned(number)?,
            this_update,
            next_update,
            distribution_point: (shard > 0).then_some(address.as_str()),
            base_number: scope.base.map(|base| unsigned(base.number)).transpose()?,
            freshest_crl: delta.as_deref().filter(|_address| scope.base.is_none()),
        };
        // As large as the last one and a little more.
        let capacity = present.filter(|_present| scope.base.is_none()).map_or(0, |crl| crl.size + crl.size / 16);
        let mut builder = template.begin(capacity)?;
        let complete = match scope.base {
            Some(base) if base.number == number => true,
            Some(base) => self.append_changes(issuer.id, shard, base, this_update, &mut builder, lease).await?,
            None => {
                // A certificate leaves only after one CRL past its end (RFC 5280, section 3.3).
                let since = present.map_or(this_update, |crl| crl.this_update.min(this_update));
                self.append_revoked(issuer.id, shard, since, &mut builder, lease).await?
            }
        };
        if !complete || !lease.hold().await? {
            return Ok(None);
        }
        let der = issuer.sign_crl(builder).await?;
        Ok(Some(CrlRecord {
            issuer_id: issuer.id,
            shard,
            base_number: scope.base.map(|base| base.number),
            number,
            this_update,
            next_update,
            revocations: run.revocations,
            der,
        }))
    }

    /// Appends what a complete CRL lists; `false` when the lease was lost.
    async fn append_revoked(
        &self,
        issuer_id: i32,
        shard: i32,
        since: Timestamp,
        builder: &mut CrlBuilder,
        lease: &mut Lease<'_>,
    ) -> Result<bool> {
        // The full CRL has the certificates of every shard.
        let of_shard = (shard > 0).then_some(shard);
        let mut after = (0, 0);
        loop {
            let page = self.storage.revoked_certificates(issuer_id, of_shard, since, after, PAGE).await?;
            if !lease.hold().await? {
                return Ok(false);
            }
            let Some(last) = page.last() else { break };
            after = (last.shard, last.id);
            for row in page {
                builder.push(&RevokedEntry {
                    serial: row.serial,
                    revoked_at: row.revocation.revoked_at,
                    reason: row.revocation.reason,
                    invalidity_date: row.revocation.invalidity_date,
                });
            }
        }
        if shard > 0 {
            return Ok(true);
        }
        self.append_serials(issuer_id, 0, since, builder, lease).await
    }

    /// Appends what a delta CRL lists: what was revoked, held or released since its base; `false` when the lease was lost.
    async fn append_changes(
        &self,
        issuer_id: i32,
        shard: i32,
        base: &CrlSummary,
        now: Timestamp,
        builder: &mut CrlBuilder,
        lease: &mut Lease<'_>,
    ) -> Result<bool> {
        let of_shard = (shard > 0).then_some(shard);
        let mut after = base.revocations;
        loop {
            let page = self.storage.changed_certificates(issuer_id, of_shard, after, PAGE).await?;
            if !lease.hold().await? {
                return Ok(false);
            }
            let Some(last) = page.last() else { break };
            after = last.change_number;
            // The next complete CRL has those that ended since this one.
            for row in page.into_iter().filter(|row| row.not_after >= base.this_update) {
                match row.revocation {
                    Some(revocation) => builder.push(&RevokedEntry {
                        serial: row.serial,
                        revoked_at: revocation.revoked_at,
                        reason: revocation.reason,
                        invalidity_date: revocation.invalidity_date,
                    }),
                    // Whether the base has it or not: it says that the certificate is not revoked (section 5.2.4).
                    None => builder.push_removed(&RemovedEntry { serial: row.serial, removed_at: now }),
                }
            }
        }
        if shard > 0 {
            return Ok(true);
        }
        self.append_serials(issuer_id, base.revocations, base.this_update, builder, lease).await
    }

    /// Appends serial numbers that were revoked before the issuer was imported; `false` when the lease was lost.
    async fn append_serials(
        &self,
        issuer_id: i32,
        changed_after: i64,
        since: Timestamp,
        builder: &mut CrlBuilder,
        lease: &mut Lease<'_>,
    ) -> Result<bool> {
        let mut after: Option<SerialNumber> = None;
        loop {
            let page = self.storage.revoked_serials(issuer_id, changed_after, since, after.as_ref(), PAGE).await?;
            if !lease.hold().await? {
                return Ok(false);
            }
            let Some(last) = page.last() else { return Ok(true) };
            after = Some(last.serial.clone());
            for row in page {
                builder.push(&RevokedEntry {
                    serial: row.serial,
                    revoked_at: row.revocation.revoked_at,
                    reason: row.revocation.reason,
                    invalidity_date: row.revocation.invalidity_date,
                });
            }
        }
    }
}

/// Returns a CRL as audit events show it.
fn describe(crl: &CrlRecord) -> Value {
    json!({
        "shard": crl.shard,
        "number": crl.number,
        "base_number": crl.base_number,
        "next_update": crl.next_update,
        "size": crl.der.len(),
    })
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|error| Error::internal("a CRL number is negative").with_source(error))
}
