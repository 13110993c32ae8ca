//! The thread that writes: it owns the only connection that does, commits what waits in groups, and single operations one by one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use diesel::sqlite::SqliteConnection;
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::prepared::{Prepared, StatementText, Value};
use super::queries::statement::Statement;
use super::{Connection, connection};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::audit_chain::{ChainHead, EncodedEvent};
use crate::storage::group_commit::{BATCH_LIMIT, Queue, Turn, Waiting, Write, answer, copy_of, measure};
use crate::storage::rows::acme::order_status_code;
use crate::storage::rows::{ChainRow, IdempotencyRow, NewAuditRow, NewCertificateRow};
use crate::storage::schema::{audit_chains, blocked_keys, idempotency_keys};
use crate::storage::{NewCertificate, OrderCompletion, Recorded, names, row_numbers};
use crate::x509::Timestamp;

/// How long a group grows while there is a load.
const MOMENT: Duration = Duration::from_millis(1);
/// How many writes in the last group mean that there is one.
const LOAD: usize = 8;

/// An operation with a transaction of its own, which answers its caller itself.
type Operation = Box<dyn FnOnce(Result<&mut Connection>) + Send>;

enum Job {
    Group(Box<Waiting>),
    Single(Operation),
}

/// The entrance to the writer's thread.
pub(super) struct Writer {
    queue: Queue<Job>,
    finished: Mutex<Option<oneshot::Receiver<()>>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Opens the connection and starts the thread.
    pub(super) async fn start(path: PathBuf, maximum_wait: Duration) -> Result<Self> {
        let connection = {
            let path = path.clone();
            crate::tasks::spawn_blocking(move || connection::open_writer(&path)).await?
        };
        let (queue, jobs) = Queue::new(maximum_wait);
        let (finish, finished) = oneshot::channel();
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || {
                work(&path, connection, jobs);
                // Nobody waits for the end unless the storage is being closed.
                let _closing = finish.send(());
            })
            .map_err(|error| Error::internal("the SQLite writer's thread cannot be started").with_source(error))?;
        Ok(Self { queue, finished: Mutex::new(Some(finished)) })
    }

    /// Queues a write for the next group.
    pub(super) async fn group(&self, waiting: Waiting) -> Result<()> {
        self.queue.put(Job::Group(Box::new(waiting))).await
    }

    /// Queues a single operation.
    pub(super) async fn run(&self, operation: Operation) -> Result<()> {
        self.queue.put(Job::Single(operation)).await
    }

    /// Waits for the answer to what was queued, as [`Queue::answered`] does.
    pub(super) async fn answered<T>(
        &self,
        turn: Turn,
        result: oneshot::Receiver<Result<T>>,
        limit: Duration,
    ) -> Result<T> {
        self.queue.answered(turn, result, limit).await
    }

    /// Admits nothing more and waits until what was accepted is done.
    pub(super) async fn close(&self) {
        self.queue.close();
        let finished = self.finished.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(finished) = finished
            && finished.await.is_err()
        {
            tracing::error!("the SQLite writer ended without finishing");
        }
    }
}

/// The thread: takes what waits, writes it, until the queue is closed and empty.
fn work(path: &Path, connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut kept = Some(connection);
    let mut last = 0;
    while let Some(first) = jobs.blocking_recv() {
        if last >= LOAD {
            // Those who were just answered are about to ask again; a lone write waits for nobody.
            std::thread::sleep(MOMENT);
        }
        let mut group = Vec::new();
        let mut operations = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Group(waiting) if waiting.begin() => group.push(*waiting),
                // Its caller did not want to wait so long.
                Job::Group(_left) => {}
                Job::Single(operation) => operations.push(operation),
            }
            let taken = group.len() + operations.len();
            next = if taken < BATCH_LIMIT { jobs.try_recv().ok() } else { None };
        }
        last = group.len();
        if !group.is_empty() {
            with_connection(path, &mut kept, group, commit_group, |group, error| {
                answer(group.into_iter().map(|waiting| (waiting, Err(copy_of(error)))));
            });
        }
        for operation in operations {
            with_connection(
                path,
                &mut kept,
                operation,
                |connection, operation| operation(Ok(connection)),
                |operation, error| operation(Err(copy_of(error))),
            );
        }
    }
}

/// Lends the connection to work; opens another one when the work panicked or left a transaction open.
fn with_connection<T>(
    path: &Path,
    kept: &mut Option<Connection>,
    job: T,
    work: impl FnOnce(&mut Connection, T),
    refuse: impl FnOnce(T, &Error),
) {
    let opened = kept.take().map_or_else(|| connection::open_writer(path), Ok);
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            tracing::error!(%error, "the SQLite writer cannot open its connection");
            return refuse(job, &error);
        }
    };
    let finished = catch_unwind(AssertUnwindSafe(|| work(&mut connection, job)));
    if finished.is_err() {
        tracing::error!("a write to SQLite panicked");
    } else if connection::is_clean(&mut connection) {
        *kept = Some(connection);
    } else {
        tracing::error!("a write to SQLite left its transaction open; the connection is opened anew");
    }
}

/// Commits a group and answers each; a group that fails is written one by one, so that a bad write fails alone.
fn commit_group(connection: &mut Connection, group: Vec<Waiting>) {
    let (group, outcome) = commit(connection, group);
    match outcome {
        Ok(recorded) => answer(group.into_iter().zip(recorded.into_iter().map(Ok))),
        Err(error) if group.len() == 1 || error.kind() == ErrorKind::Unavailable => {
            answer(group.into_iter().map(|waiting| (waiting, Err(copy_of(&error)))));
        }
        Err(_) => {
            for waiting in group {
                commit_group(connection, vec![waiting]);
            }
        }
    }
}

/// Writes a group in one transaction. The wrapper is left aside: on the hot path it costs as much as the statements.
fn commit(connection: &mut Connection, group: Vec<Waiting>) -> (Vec<Waiting>, Result<Vec<Recorded>>) {
    let began = Instant::now();
    let (group, outcome) = connection
        .spawn_blocking(move |inner| {
            let outcome = inner.immediate_transaction(|inner| write_group(inner, &group));
            Ok((group, outcome))
        })
        .now_or_never()
        .and_then(diesel::QueryResult::ok)
        .unwrap_or_else(|| (Vec::new(), Err(Error::internal("an operation on SQLite waited for something else"))));
    if outcome.is_ok() {
        measure(group.len(), began);
    }
    (group, outcome)
}

/// What the members of a group share: read once at its beginning, as nobody else writes meanwhile.
struct Shared {
    head: ChainHead,
    /// Whether any key is blocked at all.
    blocks_keys: bool,
}

impl Shared {
    fn read(connection: &mut SqliteConnection) -> Result<Self> {
        let head: ChainRow =
            audit_chains::table.find(super::dialect::CHAIN).select(ChainRow::as_select()).first(connection)?;
        // The first by the index of the table.
        let first: Option<i64> = blocked_keys::table
            .filter(blocked_keys::spki_sha256.ge([].as_slice()))
            .select(blocked_keys::blocked_at)
            .first(connection)
            .optional()?;
        Ok(Self { head: ChainHead::from(head), blocks_keys: first.is_some() })
    }
}

fn write_group(connection: &mut SqliteConnection, group: &[Waiting]) -> Result<Vec<Recorded>> {
    let mut shared = Shared::read(connection)?;
    let recorded =
        group.iter().map(|waiting| write_one(connection, &waiting.write, &mut shared)).collect::<Result<_>>()?;
    let head = shared.head;
    diesel::update(audit_chains::table.find(head.chain))
        .set((audit_chains::sequence.eq(head.sequence), audit_chains::hash.eq(&head.hash)))
        .execute(connection)?;
    Ok(recorded)
}

fn write_one(connection: &mut SqliteConnection, write: &Write, shared: &mut Shared) -> Result<Recorded> {
    let blocked = match &write.certificate {
        Some(write) if shared.blocks_keys => key_is_blocked(connection, &write.certificate.spki_sha256)?,
        Some(_) | None => false,
    };
    if let Some((claim, now)) = write.claim()
        && (blocked || !take_claim(connection, claim, now)?)
        && let Some(holder) = find_holder(connection, claim)?
        && holder.expires_at > now.unix()
    {
        return Ok(Recorded::Replayed(holder.into_answer()?));
    }
    if blocked {
        return Ok(Recorded::KeyBlocked);
    }
    if let Some(certificate) = &write.certificate {
        if let Some(order) = &certificate.order
            && !complete_order(connection, order, &certificate.certificate)?
        {
            return Ok(Recorded::OrderTaken);
        }
        // Its event is the next of the chain.
        let number = shared.head.sequence.saturating_add(1);
        let issued_at = certificate.certificate.issued_at.unix();
        let id = row_numbers::certificate(issued_at, number, i64::from(shared.head.chain));
        insert_certificate(connection, id, &certificate.certificate)?;
    }
    insert_event(connection, &write.audit, &mut shared.head)?;
    Ok(Recorded::Committed)
}

/// Claims an idempotency key unless somebody has it at `now`.
fn take_claim(connection: &mut SqliteConnection, claim: &IdempotencyRow, now: Timestamp) -> Result<bool> {
    struct Claim;
    impl StatementText for Claim {
        const SQL: &'static str = "INSERT INTO idempotency_keys (caller, key, request_sha256, expires_at, serial, key_encryption_key_id, sealed) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (caller, key) DO UPDATE SET request_sha256 = excluded.request_sha256, \
             expires_at = excluded.expires_at, serial = excluded.serial, key_encryption_key_id = excluded.key_encryption_key_id, \
             sealed = excluded.sealed WHERE idempotency_keys.expires_at <= ?";
    }
    let values = [
        Value::Text(&claim.caller),
        Value::Text(&claim.key),
        Value::Binary(&claim.request_sha256),
        Value::BigInt(claim.expires_at),
        Value::OptionalBinary(claim.serial.as_deref()),
        Value::OptionalText(claim.key_encryption_key_id.as_deref()),
        Value::OptionalBinary(claim.sealed.as_deref()),
        Value::BigInt(now.unix()),
    ];
    Ok(Prepared::new(Claim, &values).execute(connection)? == 1)
}

/// Whether a key is on the block list. Nobody else writes meanwhile.
fn key_is_blocked(connection: &mut SqliteConnection, spki_sha256: &[u8; 32]) -> Result<bool> {
    let found: Option<i64> = blocked_keys::table
        .find(spki_sha256.as_slice())
        .select(blocked_keys::blocked_at)
        .first(connection)
        .optional()?;
    Ok(found.is_some())
}

/// Finds the row of whoever has an idempotency key. Nobody else writes meanwhile.
fn find_holder(connection: &mut SqliteConnection, claim: &IdempotencyRow) -> Result<Option<IdempotencyRow>> {
    Ok(idempotency_keys::table
        .find((&claim.caller, &claim.key))
        .select(IdempotencyRow::as_select())
        .first(connection)
        .optional()?)
}

/// Completes an order with its certificate, unless it is taken, or its account or the proof of one of its names is not valid any more.
fn complete_order(
    connection: &mut SqliteConnection,
    order: &OrderCompletion,
    certificate: &NewCertificate,
) -> Result<bool> {
    let completed = Statement::new(
        "UPDATE acme_orders SET status = 2, certificate_issuer_id = ?, certificate_serial = ?, finalized_at = ?, ends_at = ?, \
         csr = NULL, error = NULL, lease_holder = NULL, lease_until = NULL \
         WHERE id = ? AND account_id = ? AND status = ? \
         AND ((status = 0 AND expires_at > ?) OR (status = 1 AND lease_holder = ?)) \
         AND EXISTS (SELECT 1 FROM acme_accounts WHERE acme_accounts.id = acme_orders.account_id AND acme_accounts.status = 0) \
         AND EXISTS (SELECT 1 FROM acme_order_authorizations WHERE order_id = acme_orders.id) \
         AND NOT EXISTS (SELECT 1 FROM acme_order_authorizations \
         LEFT JOIN acme_authorizations ON acme_authorizations.id = acme_order_authorizations.authorization_id \
         AND acme_authorizations.status = 1 AND acme_authorizations.expires_at > ? \
         WHERE acme_order_authorizations.order_id = acme_orders.id AND acme_authorizations.id IS NULL)",
    )
    .bind(Some(certificate.issuer_id))
    .bind(certificate.serial.as_bytes())
    .bind(certificate.issued_at.unix())
    .bind(certificate.not_after.unix())
    .bind(order.order_id)
    .bind(order.account_id)
    .bind(order_status_code(order.from))
    .bind(certificate.issued_at.unix())
    .bind(order.holder.clone())
    .bind(certificate.issued_at.unix())
    .execute(connection)?;
    Ok(completed == 1)
}

fn insert_certificate(connection: &mut SqliteConnection, id: i64, certificate: &NewCertificate) -> Result<()> {
    struct InsertCertificate;
    impl StatementText for InsertCertificate {
        const SQL: &'static str = "INSERT INTO certificates (id, serial, issuer_id, profile, profile_version, requester, source, subject, \
             key_algorithm, spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, labels, crl_shard, der) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    }
    struct InsertName;
    impl StatementText for InsertName {
        const SQL: &'static str = "INSERT INTO certificate_names (certificate_id, type, search_key) VALUES (?, ?, ?)";
    }
    struct InsertLabel;
    impl StatementText for InsertLabel {
        const SQL: &'static str = "INSERT INTO certificate_labels (certificate_id, key, value) VALUES (?, ?, ?)";
    }

    let row = NewCertificateRow::new(id, certificate, certificate.issuer_id)?;
    let values = [
        Value::BigInt(row.id),
        Value::Binary(row.serial),
        Value::Integer(row.issuer_id),
        Value::Text(row.profile),
        Value::Integer(row.profile_version),
        Value::Text(row.requester),
        Value::SmallInt(row.source),
        Value::Text(row.subject),
        Value::Text(row.key_algorithm),
        Value::Binary(row.spki_sha256),
        Value::Binary(row.fingerprint_sha256),
        Value::BigInt(row.not_before),
        Value::BigInt(row.not_after),
        Value::BigInt(row.issued_at),
        Value::OptionalText(row.labels.as_deref()),
        Value::Integer(row.crl_shard),
        Value::Binary(row.der),
    ];
    Prepared::new(InsertCertificate, &values).execute(connection)?;
    for (name_type, search_key) in names::search_keys(&certificate.names) {
        let values = [Value::BigInt(id), Value::SmallInt(name_type), Value::Text(&search_key)];
        Prepared::new(InsertName, &values).execute(connection)?;
    }
    for (key, value) in &certificate.labels {
        let values = [Value::BigInt(id), Value::Text(key), Value::Text(value)];
        Prepared::new(InsertLabel, &values).execute(connection)?;
    }
    Ok(())
}

/// Links an event to the end of the chain and writes it.
fn insert_event(connection: &mut SqliteConnection, event: &EncodedEvent, head: &mut ChainHead) -> Result<()> {
    struct InsertEvent;
    impl StatementText for InsertEvent {
        const SQL: &'static str = "INSERT INTO audit_events (id, chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    }
    let row = NewAuditRow::link(event, head);
    let values = [
        Value::BigInt(row.id),
        Value::Integer(row.chain),
        Value::BigInt(row.sequence),
        Value::BigInt(row.occurred_at),
        Value::Text(row.actor),
        Value::Text(row.action),
        Value::SmallInt(row.outcome),
        Value::Text(row.object),
        Value::Binary(row.bytes),
        Value::Binary(&row.hash),
    ];
    Prepared::new(InsertEvent, &values).execute(connection)?;
    Ok(())
}
