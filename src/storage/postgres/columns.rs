//! A group of writes turned into columns, one array per column, for `INSERT ... SELECT FROM UNNEST(...)`.

use tokio_postgres::types::ToSql;

use crate::error::Result;
use crate::storage::audit_chain::{ChainHead, EncodedEvent};
use crate::storage::rows::acme::order_status_code;
use crate::storage::rows::{IdempotencyRow, NewCertificateRow};
use crate::storage::{NewCertificate, OrderCompletion, names, row_numbers};

/// Parameters of a statement.
pub(super) type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Certificates with their rows, names and labels.
#[derive(Debug, Default)]
pub(super) struct CertificateColumns<'a> {
    id: Vec<i64>,
    serial: Vec<&'a [u8]>,
    issuer_id: Vec<i32>,
    profile: Vec<&'a str>,
    profile_version: Vec<i32>,
    requester: Vec<&'a str>,
    source: Vec<i16>,
    subject: Vec<&'a str>,
    key_algorithm: Vec<&'a str>,
    spki_sha256: Vec<&'a [u8]>,
    fingerprint_sha256: Vec<&'a [u8]>,
    not_before: Vec<i64>,
    not_after: Vec<i64>,
    issued_at: Vec<i64>,
    labels: Vec<Option<String>>,
    crl_shard: Vec<i32>,
    der: Vec<&'a [u8]>,
    names: NameColumns,
    certificate_labels: LabelColumns<'a>,
}

/// Names of certificates.
#[derive(Debug, Default)]
struct NameColumns {
    certificate_id: Vec<i64>,
    name_type: Vec<i16>,
    search_key: Vec<String>,
}

/// Labels of certificates.
#[derive(Debug, Default)]
struct LabelColumns<'a> {
    certificate_id: Vec<i64>,
    key: Vec<&'a str>,
    value: Vec<&'a str>,
}

impl<'a> CertificateColumns<'a> {
    /// Adds a certificate under a row.
    pub(super) fn push(&mut self, id: i64, certificate: &'a NewCertificate) -> Result<()> {
        let row = NewCertificateRow::new(id, certificate, certificate.issuer_id)?;
        self.id.push(row.id);
        self.serial.push(row.serial);
        self.issuer_id.push(row.issuer_id);
        self.profile.push(row.profile);
        self.profile_version.push(row.profile_version);
        self.requester.push(row.requester);
        self.source.push(row.source);
        self.subject.push(row.subject);
        self.key_algorithm.push(row.key_algorithm);
        self.spki_sha256.push(row.spki_sha256);
        self.fingerprint_sha256.push(row.fingerprint_sha256);
        self.not_before.push(row.not_before);
        self.not_after.push(row.not_after);
        self.issued_at.push(row.issued_at);
        self.labels.push(row.labels);
        self.crl_shard.push(row.crl_shard);
        self.der.push(row.der);
        for name in &certificate.names {
            self.names.certificate_id.push(id);
            self.names.name_type.push(names::type_code(name.name_type()));
            self.names.search_key.push(names::search_key(name));
        }
        for (key, value) in &certificate.labels {
            self.certificate_labels.certificate_id.push(id);
            self.certificate_labels.key.push(key);
            self.certificate_labels.value.push(value);
        }
        Ok(())
    }

    /// Returns the columns in the order of the statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        (!self.id.is_empty()).then(|| -> Parameters<'_> {
            vec![
                &self.id,
                &self.serial,
                &self.issuer_id,
                &self.profile,
                &self.profile_version,
                &self.requester,
                &self.source,
                &self.subject,
                &self.key_algorithm,
                &self.spki_sha256,
                &self.fingerprint_sha256,
                &self.not_before,
                &self.not_after,
                &self.issued_at,
                &self.labels,
                &self.crl_shard,
                &self.der,
                &self.names.certificate_id,
                &self.names.name_type,
                &self.names.search_key,
                &self.certificate_labels.certificate_id,
                &self.certificate_labels.key,
                &self.certificate_labels.value,
            ]
        })
    }
}

/// Events linked to the end of one chain.
#[derive(Debug)]
pub(super) struct EventColumns<'a> {
    pub(super) head: ChainHead,
    id: Vec<i64>,
    sequence: Vec<i64>,
    occurred_at: Vec<i64>,
    actor: Vec<&'a str>,
    action: Vec<&'a str>,
    outcome: Vec<i16>,
    object: Vec<&'a str>,
    bytes: Vec<&'a [u8]>,
    hash: Vec<Vec<u8>>,
}

impl<'a> EventColumns<'a> {
    /// Begins at the head of a chain.
    pub(super) fn new(head: ChainHead) -> Self {
        Self {
            head,
            id: Vec::new(),
            sequence: Vec::new(),
            occurred_at: Vec::new(),
            actor: Vec::new(),
            action: Vec::new(),
            outcome: Vec::new(),
            object: Vec::new(),
            bytes: Vec::new(),
            hash: Vec::new(),
        }
    }

    /// Links an event.
    pub(super) fn push(&mut self, event: &'a EncodedEvent) {
        let (sequence, hash) = self.head.append(&event.bytes);
        self.id.push(row_numbers::event(event.columns.occurred_at, self.head.chain, sequence));
        self.sequence.push(sequence);
        self.occurred_at.push(event.columns.occurred_at);
        self.actor.push(&event.columns.actor);
        self.action.push(&event.columns.action);
        self.outcome.push(event.columns.outcome);
        self.object.push(&event.columns.object);
        self.bytes.push(&event.bytes);
        self.hash.push(hash);
    }

    /// Returns the columns in the order of the statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        (!self.sequence.is_empty()).then(|| -> Parameters<'_> {
            vec![
                &self.head.chain,
                &self.id,
                &self.sequence,
                &self.occurred_at,
                &self.actor,
                &self.action,
                &self.outcome,
                &self.object,
                &self.bytes,
                &self.hash,
                &self.head.sequence,
                &self.head.hash,
            ]
        })
    }
}

/// Claims of idempotency keys, each key once.
#[derive(Debug, Default)]
pub(super) struct ClaimColumns<'a> {
    caller: Vec<&'a str>,
    key: Vec<&'a str>,
    request_sha256: Vec<&'a [u8]>,
    expires_at: Vec<i64>,
    serial: Vec<Option<&'a [u8]>>,
    pub(super) now: i64,
}

impl<'a> ClaimColumns<'a> {
    /// Adds a claim.
    pub(super) fn push(&mut self, row: &'a IdempotencyRow) {
        self.caller.push(&row.caller);
        self.key.push(&row.key);
        self.request_sha256.push(&row.request_sha256);
        self.expires_at.push(row.expires_at);
        self.serial.push(row.serial.as_deref());
    }

    /// Returns the columns in the order of the claiming statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        (!self.caller.is_empty()).then(|| -> Parameters<'_> {
            vec![&self.caller, &self.key, &self.request_sha256, &self.expires_at, &self.serial, &self.now]
        })
    }

    /// Returns the columns that name the keys.
    pub(super) fn key_parameters(&self) -> Parameters<'_> {
        vec![&self.caller, &self.key]
    }
}

/// Orders that are completed, each once, with their certificates.
#[derive(Debug, Default)]
pub(super) struct OrderColumns<'a> {
    id: Vec<i64>,
    account_id: Vec<i64>,
    from: Vec<i16>,
    holder: Vec<Option<&'a str>>,
    issuer_id: Vec<i32>,
    serial: Vec<&'a [u8]>,
    issued_at: Vec<i64>,
    not_after: Vec<i64>,
}

impl<'a> OrderColumns<'a> {
    /// Adds an order, unless it is there.
    pub(super) fn push(&mut self, order: &'a OrderCompletion, certificate: &'a NewCertificate) {
        if self.id.contains(&order.order_id) {
            return;
        }
        self.id.push(order.order_id);
        self.account_id.push(order.account_id);
        self.from.push(order_status_code(order.from));
        self.holder.push(order.holder.as_deref());
        self.issuer_id.push(certificate.issuer_id);
        self.serial.push(certificate.serial.as_bytes());
        self.issued_at.push(certificate.issued_at.unix());
        self.not_after.push(certificate.not_after.unix());
    }

    /// Returns the columns in the order of the statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        (!self.id.is_empty()).then(|| -> Parameters<'_> {
            vec![
                &self.id,
                &self.account_id,
                &self.from,
                &self.holder,
                &self.issuer_id,
                &self.serial,
                &self.issued_at,
                &self.not_after,
            ]
        })
    }
}
