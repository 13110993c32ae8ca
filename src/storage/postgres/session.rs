//! A writer's connection with its prepared statements, and one attempt to commit a group on it.
//!
//! Statements are sent without waiting for one another's answers (pipelining): a group costs two round trips, three when a claim lost. A
//! group with a certificate whose key is blocked begins again without that certificate.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{try_join, try_join3, try_join4, try_join5};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row, Statement};

use super::parameters::{CertificateRows, ClaimRows, EventRows, OrderColumns, Parameters};
use super::{BLOCK_LIST_LOCK, some_chain};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Recorded;
use crate::storage::audit_chain::ChainHead;
use crate::storage::group_commit::{CertificateWrite, Waiting};
use crate::storage::row_numbers;
use crate::storage::rows::IdempotencyRow;

type Database<T> = std::result::Result<T, tokio_postgres::Error>;

/// What became of each member of a group.
pub(super) type Outcomes = Vec<Result<Recorded>>;

/// A group of which nobody knows yet whether it was committed: the end of its chain, which tells, and what to answer then.
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) head: ChainHead,
    pub(super) outcomes: Outcomes,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database or a value was refused; nothing was written.
    Refused(Error),
    /// The connection was lost.
    Lost(tokio_postgres::Error),
}

/// A connection with its statements.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    /// Begins a transaction that issues.
    begin: String,
    blocked: Statement,
    take_chain: Statement,
    wait_for_chain: Statement,
    claim: Statement,
    orders: Statement,
    holders: Statement,
    certificates: Statement,
    events: Statement,
    find_link: Statement,
}

const BLOCKED: &str = "SELECT spki_sha256 FROM blocked_keys WHERE spki_sha256 = ANY($1::bytea[])";
const TAKE_CHAIN: &str = "SELECT id, sequence, hash FROM audit_chains ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
const WAIT_FOR_CHAIN: &str = "SELECT id, sequence, hash FROM audit_chains WHERE id = $1 FOR UPDATE";
const CLAIM: &str = "INSERT INTO idempotency_keys (caller, key, request_sha256, expires_at, serial) \
    SELECT caller, key, request_sha256, expires_at, serial FROM UNNEST($1::new_idempotency_key[]) \
    ON CONFLICT (caller, key) DO UPDATE SET request_sha256 = excluded.request_sha256, expires_at = excluded.expires_at, \
    serial = excluded.serial, key_encryption_key_id = NULL, sealed = NULL \
    WHERE idempotency_keys.expires_at <= $2 RETURNING caller, key";
/// Rows are locked in the order of their numbers, and looked at again when somebody else had them locked. Conditions are written so that each
/// is found by the number of its row, whatever the planner believes about the tables: a plan made while they were empty would otherwise read all
/// proofs of all accounts, until PostgreSQL gathers statistics. An order without authorizations is not proven: of nothing `BOOL_AND` makes null.
const ORDERS: &str = "UPDATE acme_orders SET status = 2, certificate_issuer_id = locked.issuer_id, \
    certificate_serial = locked.serial, finalized_at = locked.issued_at, ends_at = locked.not_after, csr = NULL, \
    error = NULL, lease_holder = NULL, lease_until = NULL FROM (\
    SELECT acme_orders.id, n.issuer_id, n.serial, n.issued_at, n.not_after \
    FROM UNNEST($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::int[], $6::bytea[], $7::bigint[], $8::bigint[]) \
    AS n (id, account_id, from_status, holder, issuer_id, serial, issued_at, not_after) \
    JOIN acme_orders ON acme_orders.id = n.id AND acme_orders.account_id = n.account_id \
    AND acme_orders.status = n.from_status AND CASE acme_orders.status WHEN 0 THEN acme_orders.expires_at > n.issued_at \
    WHEN 1 THEN acme_orders.lease_holder = n.holder ELSE FALSE END \
    WHERE (SELECT acme_accounts.status = 0 FROM acme_accounts WHERE acme_accounts.id = n.account_id) \
    AND (SELECT BOOL_AND(COALESCE((SELECT proof.status = 1 AND proof.expires_at > n.issued_at \
    FROM acme_authorizations AS proof WHERE proof.id = linked.authorization_id), FALSE)) \
    FROM acme_order_authorizations AS linked WHERE linked.order_id = acme_orders.id) \
    ORDER BY acme_orders.id FOR UPDATE OF acme_orders) AS locked \
    WHERE acme_orders.id = locked.id AND acme_orders.status < 2 RETURNING acme_orders.id";
const HOLDERS: &str = "SELECT caller, key, request_sha256, expires_at, serial, key_encryption_key_id, sealed \
    FROM idempotency_keys WHERE (caller, key) IN (SELECT * FROM UNNEST($1::text[], $2::text[]))";
/// With names and labels in the same statement: each message costs, and most of what is in them is small.
const CERTIFICATES: &str = "WITH recorded AS (INSERT INTO certificates (id, serial, issuer_id, profile, profile_version, requester, source, \
    subject, key_algorithm, spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, labels, crl_shard, der) \
    SELECT id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, spki_sha256, fingerprint_sha256, \
    not_before, not_after, issued_at, labels, crl_shard, der FROM UNNEST($1::new_certificate[])), \
    named AS (INSERT INTO certificate_names (certificate_id, type, search_key) \
    SELECT certificate_id, type, search_key FROM UNNEST($2::new_certificate_name[])) \
    INSERT INTO certificate_labels (certificate_id, key, value) \
    SELECT certificate_id, key, value FROM UNNEST($3::new_certificate_label[])";
/// Moves the head of the chain too.
const EVENTS: &str = "WITH moved AS (UPDATE audit_chains SET sequence = $3, hash = $4 WHERE id = $2) \
    INSERT INTO audit_events (id, chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash) \
    SELECT id, chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash FROM UNNEST($1::new_audit_event[])";
const FIND_LINK: &str = "SELECT hash FROM audit_events WHERE chain = $1 AND sequence = $2";

impl Drop for Session {
    fn drop(&mut self) {
        // A statement that still runs must not outlive the session.
        self.driver.abort();
    }
}

impl Session {
    /// Prepares the statements.
    pub(super) async fn new(client: Client, driver: JoinHandle<()>) -> Database<Self> {
        let prepare = |sql: &'static str| client.prepare(sql);
        let (take_chain, wait_for_chain, claim, holders) =
            try_join4(prepare(TAKE_CHAIN), prepare(WAIT_FOR_CHAIN), prepare(CLAIM), prepare(HOLDERS)).await?;
        let (certificates, events, find_link, blocked, orders) =
            try_join5(prepare(CERTIFICATES), prepare(EVENTS), prepare(FIND_LINK), prepare(BLOCKED), prepare(ORDERS))
                .await?;
        // With the lock in the same message: whoever blocks a key waits for those who issue, and they for it.
        let begin = format!("BEGIN; SELECT pg_advisory_xact_lock_shared({BLOCK_LIST_LOCK})");
        Ok(Self {
            client,
            driver,
            begin,
            blocked,
            take_chain,
            wait_for_chain,
            claim,
            orders,
            holders,
            certificates,
            events,
            find_link,
        })
    }

    /// Whether the connection is known to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Ends a transaction that failed.
    pub(super) async fn roll_back(&self) -> Database<()> {
        self.client.batch_execute("ROLLBACK").await
    }

    /// Whether the last link of an undecided group was committed. The head's lock is held by a commit that is still under way.
    pub(super) async fn was_committed(&self, head: &ChainHead) -> Database<bool> {
        self.client.batch_execute("BEGIN").await?;
        self.client.query(&self.wait_for_chain, &[&head.chain]).await?;
        let parameters: Parameters<'_> = vec![&head.chain, &head.sequence];
        let found = self.client.query_opt(&self.find_link, &parameters).await?;
        self.roll_back().await?;
        found.map_or(Ok(false), |row| Ok(row.try_get::<_, Vec<u8>>(0)? == head.hash))
    }

    /// Writes a group in one transaction and commits it, without the certificates whose keys are blocked. From the moment a commit may have
    /// been sent, `undecided` tells of it.
    pub(super) async fn commit(
        &self,
        group: &[Waiting],
        undecided: &mut Option<Undecided>,
    ) -> std::result::Result<Outcomes, Failure> {
        let mut refused = BTreeSet::new();
        loop {
            match self.attempt(group, &refused, undecided).await? {
                Attempt::Committed(outcomes) => return Ok(outcomes),
                // What they claimed must not stay claimed, and may be another member's.
                Attempt::Blocked(members) => {
                    self.roll_back().await?;
                    refused.extend(members);
                }
            }
        }
    }

    async fn attempt(
        &self,
        group: &[Waiting],
        refused: &BTreeSet<usize>,
        undecided: &mut Option<Undecided>,
    ) -> std::result::Result<Attempt, Failure> {
        let claims = distinct_claims(group, refused);
        let keys: Vec<&[u8]> = keys(group, refused).map(|(_member, key)| key.as_slice()).collect();
        let key_list: Parameters<'_> = vec![&keys];
        let issues = !keys.is_empty();
        let orders = distinct_orders(group, refused);
        // The lock before the look at the block list; claims before orders before the chain: all transactions take their locks in this order.
        let (_began, blocked, (won, completed), chains) = try_join4(
            self.client.batch_execute(if issues { &self.begin } else { "BEGIN" }),
            self.query_if(&self.blocked, issues.then_some(key_list)),
            try_join(self.query_if(&self.claim, claims.parameters()), self.query_if(&self.orders, orders.parameters())),
            self.client.query(&self.take_chain, &[]),
        )
        .await?;
        let won = won
            .iter()
            .map(|row| Ok((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?)))
            .collect::<Database<BTreeSet<_>>>()?;
        let completed = completed.iter().map(|row| row.try_get::<_, i64>(0)).collect::<Database<BTreeSet<_>>>()?;
        let decisions = Decisions::new(group, refused, won, completed);
        let blocked = blocked.iter().map(|row| row.try_get::<_, Vec<u8>>(0)).collect::<Database<BTreeSet<_>>>()?;
        let members = decisions.with_blocked_keys(group, &blocked);
        if !members.is_empty() {
            return Ok(Attempt::Blocked(members));
        }
        let head = match chains.first() {
            Some(row) => chain_head(row)?,
            None => {
                let chain = some_chain();
                chain_head(&self.client.query_one(&self.wait_for_chain, &[&chain]).await?)?
            }
        };
        let holders = if decisions.lost() { self.find_holders(&claims).await? } else { BTreeMap::new() };

        let mut certificates = CertificateRows::default();
        let mut events = EventRows::new(head);
        for waiting in decisions.written(group) {
            if let Some(CertificateWrite { certificate, .. }) = &waiting.write.certificate {
                // Its event is the next of the chain, which nobody else has.
                let number = events.head.sequence.saturating_add(1);
                let id = row_numbers::certificate(certificate.issued_at.unix(), number, i64::from(events.head.chain));
                certificates.push(id, certificate).map_err(Failure::Refused)?;
            }
            events.push(&waiting.write.audit);
        }
        let outcomes = || decisions.outcomes(group, &holders);
        if events.parameters().is_some() {
            *undecided = Some(Undecided { head: events.head.clone(), outcomes: outcomes() });
        }
        try_join3(
            self.execute_if(&self.certificates, certificates.parameters()),
            self.execute_if(&self.events, events.parameters()),
            // If a statement before it fails, the server answers this with a rollback, and the failure is what is seen here.
            self.client.batch_execute("COMMIT"),
        )
        .await?;
        Ok(Attempt::Committed(outcomes()))
    }

    async fn query_if(&self, statement: &Statement, parameters: Option<Parameters<'_>>) -> Database<Vec<Row>> {
        match parameters {
            Some(parameters) => self.client.query(statement, &parameters).await,
            None => Ok(Vec::new()),
        }
    }

    async fn execute_if(&self, statement: &Statement, parameters: Option<Parameters<'_>>) -> Database<u64> {
        match parameters {
            Some(parameters) => self.client.execute(statement, &parameters).await,
            None => Ok(0),
        }
    }

    async fn find_holders(&self, claims: &ClaimRows<'_>) -> Database<BTreeMap<(String, String), IdempotencyRow>> {
        let (callers, keys) = claims.keys();
        let rows = self.client.query(&self.holders, &[&callers, &keys]).await?;
        rows.iter()
            .map(|row| {
                let holder = IdempotencyRow {
                    caller: row.try_get(0)?,
                    key: row.try_get(1)?,
                    request_sha256: row.try_get(2)?,
                    expires_at: row.try_get(3)?,
                    serial: row.try_get(4)?,
                    key_encryption_key_id: row.try_get(5)?,
                    sealed: row.try_get(6)?,
                };
                Ok(((holder.caller.clone(), holder.key.clone()), holder))
            })
            .collect()
    }
}

fn chain_head(row: &Row) -> Database<ChainHead> {
    Ok(ChainHead { chain: row.try_get(0)?, sequence: row.try_get(1)?, hash: row.try_get(2)? })
}

/// What one attempt came to.
enum Attempt {
    Committed(Outcomes),
    /// These members' keys are blocked; nothing was written, and the transaction is still open.
    Blocked(Vec<usize>),
}

/// Returns the keys of the certificates of a group, each with the place of its member, but for the members that are refused.
fn keys<'a>(group: &'a [Waiting], refused: &BTreeSet<usize>) -> impl Iterator<Item = (usize, &'a [u8; 32])> {
    let admitted = group.iter().enumerate().filter(|(member, _waiting)| !refused.contains(member));
    admitted
        .filter_map(|(member, waiting)| Some((member, &waiting.write.certificate.as_ref()?.certificate.spki_sha256)))
}

/// Collects the first claim of each key, in the order of the keys, so that two writers lock them in the same order.
///
/// The group is claimed at its earliest moment: a key that expires within the group is still held.
fn distinct_claims<'a>(group: &'a [Waiting], refused: &BTreeSet<usize>) -> ClaimRows<'a> {
    let mut first: BTreeMap<(&str, &str), &IdempotencyRow> = BTreeMap::new();
    let mut now = i64::MAX;
    let admitted = group.iter().enumerate().filter(|(member, _waiting)| !refused.contains(member));
    for (row, moment) in admitted.filter_map(|(_member, waiting)| waiting.write.claim()) {
        now = now.min(moment.unix());
        first.entry((&row.caller, &row.key)).or_insert(row);
    }
    let mut claims = ClaimRows::default();
    claims.now = now;
    first.into_values().for_each(|row| claims.push(row));
    claims
}

/// Collects the first completion of each order.
fn distinct_orders<'a>(group: &'a [Waiting], refused: &BTreeSet<usize>) -> OrderColumns<'a> {
    let mut orders = OrderColumns::default();
    let admitted = group.iter().enumerate().filter(|(member, _waiting)| !refused.contains(member));
    for write in admitted.filter_map(|(_member, waiting)| waiting.write.certificate.as_ref()) {
        if let Some(order) = &write.order {
            orders.push(order, &write.certificate);
        }
    }
    orders
}

/// What becomes of a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It is written.
    Written,
    /// Its claim lost.
    Lost,
    /// Its order is completed by another, or cannot be completed any more.
    OrderTaken,
    /// Its certificate's key is blocked.
    Refused,
}

/// What becomes of the members of a group, in their order.
struct Decisions(Vec<Decision>);

impl Decisions {
    fn new(
        group: &[Waiting],
        refused: &BTreeSet<usize>,
        mut won: BTreeSet<(String, String)>,
        mut completed: BTreeSet<i64>,
    ) -> Self {
        let decide = |(member, waiting): (usize, &Waiting)| match waiting.write.claim() {
            _ if refused.contains(&member) => Decision::Refused,
            // Taken out: of two that complete one order in a group the first does. Who completes an order claims nothing.
            _ if waiting.write.order().is_some_and(|order| !completed.remove(&order)) => Decision::OrderTaken,
            None => Decision::Written,
            // Taken out: of two claims of one key in a group the first wins.
            Some((row, _now)) if won.remove(&(row.caller.clone(), row.key.clone())) => Decision::Written,
            Some(_) => Decision::Lost,
        };
        Self(group.iter().enumerate().map(decide).collect())
    }

    fn lost(&self) -> bool {
        self.0.contains(&Decision::Lost)
    }

    /// Returns the members that are written.
    fn written<'a>(&self, group: &'a [Waiting]) -> impl Iterator<Item = &'a Waiting> {
        group
            .iter()
            .zip(&self.0)
            .filter(|(_waiting, decision)| **decision == Decision::Written)
            .map(|(waiting, _)| waiting)
    }

    /// Returns the places of the members that were to be written and must not be.
    fn with_blocked_keys(&self, group: &[Waiting], blocked: &BTreeSet<Vec<u8>>) -> Vec<usize> {
        if blocked.is_empty() {
            return Vec::new();
        }
        keys(group, &BTreeSet::new())
            .filter(|(member, key)| self.0.get(*member) == Some(&Decision::Written) && blocked.contains(key.as_slice()))
            .map(|(member, _key)| member)
            .collect()
    }

    fn outcomes(&self, group: &[Waiting], holders: &BTreeMap<(String, String), IdempotencyRow>) -> Outcomes {
        let holder = |waiting: &Waiting| {
            let (row, _now) = waiting.write.claim()?;
            holders.get(&(row.caller.clone(), row.key.clone())).cloned()
        };
        let outcome = |(waiting, decision): (&Waiting, &Decision)| match decision {
            Decision::Written => Ok(Recorded::Committed),
            Decision::OrderTaken => Ok(Recorded::OrderTaken),
            Decision::Refused => Ok(Recorded::KeyBlocked),
            Decision::Lost => match holder(waiting) {
                Some(holder) => holder.into_answer().map(Recorded::Replayed),
                // Deleted by a clean-up in between: the same request may win next time.
                None => {
                    Err(Error::new(ErrorKind::Unavailable, "the idempotency key is being released").with_retry_after(1))
                }
            },
        };
        group.iter().zip(&self.0).map(outcome).collect()
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else { return Self::Lost(error) };
        // The class is the first two characters: PostgreSQL's documentation, appendix A.
        match state.code() {
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => return Self::Lost(error),
            code if code.starts_with("08") => return Self::Lost(error),
            _ => {}
        }
        let passing =
            ["53", "57", "40", "55"].iter().any(|class| state.code().starts_with(class)) || state.code() == "25006";
        Self::Refused(if passing {
            crate::storage::failure::unavailable(error)
        } else {
            Error::internal("the database refused a statement").with_source(error)
        })
    }
}
