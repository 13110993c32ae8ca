//! A group of writes as parameters of its statements: rows as arrays of a composite type, of which the database makes rows again at little cost.
//! An array for each column it would first turn into as many tables, and then join them.

use postgres_types::ToSql;

use crate::error::Result;
use crate::storage::audit_chain::{ChainHead, EncodedEvent};
use crate::storage::rows::acme::order_status_code;
use crate::storage::rows::{IdempotencyRow, NewAuditRow, NewCertificateRow};
use crate::storage::{NewCertificate, OrderCompletion, names};

/// Parameters of a statement.
pub(super) type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Certificates with their names and labels.
#[derive(Debug, Default)]
pub(super) struct CertificateRows<'a> {
    certificates: Vec<NewCertificateRow<'a>>,
    names: Vec<NewName>,
    labels: Vec<NewLabel<'a>>,
}

/// A name of a certificate.
#[derive(Debug, ToSql)]
#[postgres(name = "new_certificate_name")]
struct NewName {
    certificate_id: i64,
    #[postgres(name = "type")]
    name_type: i16,
    search_key: String,
}

/// A label of a certificate.
#[derive(Debug, ToSql)]
#[postgres(name = "new_certificate_label")]
struct NewLabel<'a> {
    certificate_id: i64,
    key: &'a str,
    value: &'a str,
}

impl<'a> CertificateRows<'a> {
    /// Adds a certificate under a row.
    pub(super) fn push(&mut self, id: i64, certificate: &'a NewCertificate) -> Result<()> {
        self.certificates.push(NewCertificateRow::new(id, certificate, certificate.issuer_id)?);
        let names = names::search_keys(&certificate.names).into_iter();
        self.names.extend(names.map(|(name_type, search_key)| NewName { certificate_id: id, name_type, search_key }));
        self.labels.extend(certificate.labels.iter().map(|(key, value)| NewLabel { certificate_id: id, key, value }));
        Ok(())
    }

    /// Returns the parameters in the order of the statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        (!self.certificates.is_empty())
            .then(|| -> Parameters<'_> { vec![&self.certificates, &self.names, &self.labels] })
    }
}

/// Events linked to the end of one chain.
#[derive(Debug)]
pub(super) struct EventRows<'a> {
    pub(super) head: ChainHead,
    events: Vec<NewAuditRow<'a>>,
}

impl<'a> EventRows<'a> {
    /// Begins at the head of a chain.
    pub(super) fn new(head: ChainHead) -> Self {
        Self { head, events: Vec::new() }
    }

    /// Links an event.
    pub(super) fn push(&mut self, event: &'a EncodedEvent) {
        self.events.push(NewAuditRow::link(event, &mut self.head));
    }

    /// Returns the parameters in the order of the statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        let head = &self.head;
        (!self.events.is_empty())
            .then(|| -> Parameters<'_> { vec![&self.events, &head.chain, &head.sequence, &head.hash] })
    }
}

/// Claims of idempotency keys, each key once.
#[derive(Debug, Default)]
pub(super) struct ClaimRows<'a> {
    claims: Vec<NewClaim<'a>>,
    pub(super) now: i64,
}

/// A claim of an idempotency key for a certificate.
#[derive(Debug, ToSql)]
#[postgres(name = "new_idempotency_key")]
struct NewClaim<'a> {
    caller: &'a str,
    key: &'a str,
    request_sha256: &'a [u8],
    expires_at: i64,
    serial: Option<&'a [u8]>,
}

impl<'a> ClaimRows<'a> {
    /// Adds a claim.
    pub(super) fn push(&mut self, row: &'a IdempotencyRow) {
        self.claims.push(NewClaim {
            caller: &row.caller,
            key: &row.key,
            request_sha256: &row.request_sha256,
            expires_at: row.expires_at,
            serial: row.serial.as_deref(),
        });
    }

    /// Returns the parameters of the claiming statement; `None` without rows.
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        (!self.claims.is_empty()).then(|| -> Parameters<'_> { vec![&self.claims, &self.now] })
    }

    /// Returns the callers and the keys, as of the statement that finds who holds them.
    pub(super) fn keys(&self) -> (Vec<&'a str>, Vec<&'a str>) {
        self.claims.iter().map(|claim| (claim.caller, claim.key)).unzip()
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
